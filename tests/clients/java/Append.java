import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.StringSerializer;

/** The Java client behind the lines of tests/clients/python/append.py. */
public class Append {
    public static void main(String[] args) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", args[0]);
        settings.put("key.serializer", StringSerializer.class.getName());
        settings.put("value.serializer", StringSerializer.class.getName());
        for (String setting : List.of(args).subList(1, args.length)) {
            String[] parts = setting.split("=", 2);
            settings.put(parts[0], parts[1]);
        }
        try (var producer = new KafkaProducer<String, String>(settings)) {
            var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
            int count = 0;
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                if (line.equals("flush")) {
                    producer.flush();
                    say("flushed");
                    continue;
                }
                String[] fields = line.split("\t");
                Integer partition = fields[1].equals("-") ? null : Integer.valueOf(fields[1]);
                String value = fields[3].equals("-") ? null : fields[3];
                List<Header> headers = List.of(fields).subList(4, fields.length).stream().map(Append::header).toList();
                int number = count++;
                producer.send(new ProducerRecord<>(fields[0], partition, fields[2], value, headers), (done, error) -> {
                    if (error == null) say(number + "\tok\t" + done.partition() + "\t" + done.offset());
                    else say(number + "\terror\t" + code(error) + "\t" + error.getMessage());
                });
            }
        }
    }

    static Header header(String field) {
        String[] parts = field.split("=", 2);
        return new RecordHeader(parts[0], parts[1].getBytes(StandardCharsets.UTF_8));
    }

    static int code(Exception error) {
        return error instanceof ApiException ? Errors.forException(error).code() : -1;
    }

    static synchronized void say(String line) {
        System.out.println(line);
    }
}
