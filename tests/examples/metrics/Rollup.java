import java.util.ArrayList;
import java.util.DoubleSummaryStatistics;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.time.Duration;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.DoubleDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Sums up what the topic holds: all readings in it, and the last one of every device. Rollup BOOTSTRAP TOPIC */
public class Rollup {
    public static void main(String[] args) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", args[0]);
        settings.put("auto.offset.reset", "earliest");
        DoubleSummaryStatistics all = new DoubleSummaryStatistics();
        Map<String, Double> last = new HashMap<>();
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new DoubleDeserializer())) {
            List<TopicPartition> partitions = new ArrayList<>();
            consumer.partitionsFor(args[1]).forEach(it -> partitions.add(new TopicPartition(it.topic(), it.partition())));
            consumer.assign(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (partitions.stream().anyMatch(it -> consumer.position(it) < ends.get(it))) {
                for (var reading : consumer.poll(Duration.ofSeconds(1))) {
                    all.accept(reading.value());
                    last.put(reading.key(), reading.value());
                }
            }
        }
        System.out.printf(Locale.ROOT, "of %d devices, last: %.2f degrees on average%n", last.size(),
            last.values().stream().mapToDouble(it -> it).average().orElse(0));
        System.out.println(all.getCount() > last.size() ? "earlier readings are still there" : "nothing but the last reading of each");
    }
}
