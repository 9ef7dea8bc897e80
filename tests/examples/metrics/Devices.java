import java.util.Properties;
import java.util.Random;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.DoubleSerializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Devices report their temperature through a gateway. Devices BOOTSTRAP TOPIC DEVICES READINGS */
public class Devices {
    public static void main(String[] args) {
        int devices = Integer.parseInt(args[2]);
        int readings = Integer.parseInt(args[3]);
        Properties settings = new Properties();
        settings.put("bootstrap.servers", args[0]);
        // Readings are small and many: a gateway may wait a little, so that more of them share a batch.
        settings.put("linger.ms", "20");
        settings.put("compression.type", "zstd");
        Random weather = new Random(7);
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new DoubleSerializer())) {
            for (int reading = 0; reading < readings; reading++) {
                for (int device = 0; device < devices; device++) {
                    double celsius = Math.round(200 + device % 10 + 10 * weather.nextGaussian()) / 10.0;
                    producer.send(new ProducerRecord<>(args[1], "device-" + device, celsius), (stored, error) -> {
                        if (error != null) throw new IllegalStateException(error);
                    });
                }
            }
        }
        System.out.println(devices * readings + " readings of " + devices + " devices");
    }
}
