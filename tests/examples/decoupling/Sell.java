import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/** The tills, in Java. Sell BOOTSTRAP TOPIC COUNT */
public class Sell {
    public static void main(String[] args) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", args[0]);
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (int number = 0; number < Integer.parseInt(args[2]); number++) {
                String order = "{\"from\": \"till\", \"amount\": 30}";
                producer.send(new ProducerRecord<>(args[1], "till-" + number, order)).get();
            }
        }
    }
}
