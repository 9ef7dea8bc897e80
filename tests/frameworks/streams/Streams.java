import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.StreamJoined;

/**
 * An instance of an application of Kafka Streams: its topology, then its settings as NAME=VALUE. Each line that it is given it
 * answers with its state and the numbers of its active and standby tasks, or with what ended it.
 */
public class Streams {
    public static void main(String[] args) throws Exception {
        Properties settings = new Properties();
        for (String setting : Arrays.asList(args).subList(1, args.length)) {
            String[] pair = setting.split("=", 2);
            settings.put(pair[0], pair[1]);
        }
        StreamsBuilder builder = new StreamsBuilder();
        switch (args[0]) {
            case "count" -> count(builder);
            case "join" -> join(builder);
            default -> throw new IllegalArgumentException(args[0]);
        }
        AtomicReference<Throwable> failure = new AtomicReference<>();
        try (KafkaStreams streams = new KafkaStreams(builder.build(settings), settings)) {
            streams.setUncaughtExceptionHandler(error -> {
                failure.compareAndSet(null, error);
                return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
            });
            streams.start();
            var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
            while (lines.readLine() != null) {
                System.out.println(failure.get() == null ? state(streams) : failed(failure.get()));
            }
        }
    }

    static String state(KafkaStreams streams) {
        int active = 0;
        int standby = 0;
        for (var thread : streams.metadataForLocalThreads()) {
            active += thread.activeTasks().size();
            standby += thread.standbyTasks().size();
        }
        return streams.state() + " " + active + " " + standby;
    }

    static String failed(Throwable error) {
        while (error.getCause() != null) error = error.getCause();
        return "FAILED " + error;
    }

    /** How often each word was there so far, once for each time it is there. */
    static void count(StreamsBuilder builder) {
        text(builder, "lines")
            .flatMapValues(line -> Arrays.asList(line.split(" ")))
            .groupBy((key, word) -> word, Grouped.with("words", Serdes.String(), Serdes.String()))
            .count(Materialized.as("counts"))
            .toStream()
            .to("counts", Produced.with(Serdes.String(), Serdes.Long()));
    }

    /** Each order with each payment of the same customer that is at most a second before or after it. */
    static void join(StreamsBuilder builder) {
        var windows = JoinWindows.ofTimeDifferenceAndGrace(Duration.ofSeconds(1), Duration.ofHours(1));
        var stores = StreamJoined.with(Serdes.String(), Serdes.String(), Serdes.String()).withName("paid").withStoreName("paid");
        byCustomer(builder, "orders")
            .join(byCustomer(builder, "payments"), (order, payment) -> order + " " + payment, windows, stores)
            .to("paid", Produced.with(Serdes.String(), Serdes.String()));
    }

    static KStream<String, String> byCustomer(StreamsBuilder builder, String topic) {
        return text(builder, topic).selectKey((key, value) -> value.split(" ")[0]).mapValues(value -> value.split(" ")[1]);
    }

    static KStream<String, String> text(StreamsBuilder builder, String topic) {
        return builder.stream(topic, Consumed.with(Serdes.String(), Serdes.String()));
    }
}
