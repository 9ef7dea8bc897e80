import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Transactions of the Java client (tests/clients/README.md); compiles with kafka-clients 3.9 and 4. */
public class Transactions {
    static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    static final BufferedReader LINES = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "transact" -> transact(args[1], args[2], args[3]);
            case "process" -> process(args[1], args[2], args[3], args[4], args[5]);
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    static KafkaProducer<byte[], byte[]> producer(String bootstrap, String id) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("transactional.id", id);
        settings.put("linger.ms", "5");
        settings.put("key.serializer", ByteArraySerializer.class.getName());
        settings.put("value.serializer", ByteArraySerializer.class.getName());
        return new KafkaProducer<>(settings);
    }

    static byte[] bytes(String field) {
        return field.equals("-") ? null : HexFormat.of().parseHex(field);
    }

    static ProducerRecord<byte[], byte[]> record(String[] field) {
        var record = new ProducerRecord<>(field[1], 0, Long.valueOf(field[2]), bytes(field[3]), bytes(field[4]));
        for (String header : field[5].isEmpty() ? new String[0] : field[5].split(",")) {
            String[] pair = header.split(":", -1);
            record.headers().add(pair[0], bytes(pair[1]));
        }
        return record;
    }

    static void transact(String bootstrap, String id, String group) throws IOException {
        AtomicReference<Exception> failure = new AtomicReference<>();
        try (var producer = producer(bootstrap, id)) {
            producer.initTransactions();
            OUT.println("ready");
            for (String line; (line = LINES.readLine()) != null; ) {
                String[] field = line.split("\t", -1);
                try {
                    switch (field[0]) {
                        case "begin" -> producer.beginTransaction();
                        case "send" -> producer.send(record(field), (done, error) -> failure.compareAndSet(null, error));
                        case "flush" -> {
                            producer.flush();
                            if (failure.get() != null) throw failure.get();
                        }
                        case "offset" -> {
                            var offset = Map.of(new TopicPartition(field[1], 0), new OffsetAndMetadata(Long.parseLong(field[2])));
                            producer.sendOffsetsToTransaction(offset, new ConsumerGroupMetadata(group));
                        }
                        case "commit" -> producer.commitTransaction();
                        case "abort" -> producer.abortTransaction();
                        default -> throw new IllegalArgumentException(line);
                    }
                    OUT.println("ok");
                } catch (Exception error) {
                    OUT.println(fenced(error) ? "fenced" : "error " + error);
                }
            }
        }
    }

    static boolean fenced(Throwable error) {
        for (; error != null; error = error.getCause()) {
            if (error instanceof ProducerFencedException || error instanceof InvalidProducerEpochException) return true;
        }
        return false;
    }

    static void process(String bootstrap, String input, String output, String group, String id) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("group.id", group);
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "earliest");
        settings.put("isolation.level", "read_committed");
        settings.put("max.poll.records", "40");
        settings.put("key.deserializer", ByteArrayDeserializer.class.getName());
        settings.put("value.deserializer", ByteArrayDeserializer.class.getName());
        BlockingQueue<String> told = told();
        int done = 0;
        try (var producer = producer(bootstrap, id); var consumer = new KafkaConsumer<byte[], byte[]>(settings)) {
            producer.initTransactions();
            consumer.subscribe(List.of(input));
            while (true) {
                var records = consumer.poll(Duration.ofMillis(100));
                if (records.isEmpty()) {
                    if ("end".equals(told.peek())) return;
                    continue;
                }
                try {
                    producer.beginTransaction();
                    for (var it : records) {
                        producer.send(new ProducerRecord<>(output, it.partition(), it.timestamp(), it.key(), it.value()));
                    }
                    producer.flush();
                    OUT.println("open " + records.count());
                    if (told.take().equals("end")) return;
                    var offsets = offsets(records);
                    untilInTime(() -> producer.sendOffsetsToTransaction(offsets, consumer.groupMetadata()));
                    untilInTime(producer::commitTransaction);
                    done += records.count();
                    OUT.println("committed " + done);
                } catch (ProducerFencedException fatal) {
                    throw fatal;
                } catch (KafkaException error) {
                    OUT.println("aborted " + error);
                    untilInTime(producer::abortTransaction);
                    rewind(consumer);
                }
            }
        }
    }

    /** The lines of standard input, and "end" when there are no more. */
    static BlockingQueue<String> told() {
        BlockingQueue<String> told = new LinkedBlockingQueue<>();
        Thread reader = new Thread(() -> {
            try {
                for (String line; (line = LINES.readLine()) != null; ) told.add(line);
            } catch (IOException end) {
                // the same as the end of the input
            }
            told.add("end");
        });
        reader.setDaemon(true);
        reader.start();
        return told;
    }

    static Map<TopicPartition, OffsetAndMetadata> offsets(ConsumerRecords<byte[], byte[]> records) {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (var it : records) offsets.put(new TopicPartition(it.topic(), it.partition()), new OffsetAndMetadata(it.offset() + 1));
        return offsets;
    }

    /** What ran out of time may have been done, so it is asked for again and not aborted, as its documentation says. */
    static void untilInTime(Runnable call) {
        while (true) {
            try {
                call.run();
                return;
            } catch (TimeoutException again) {
                OUT.println("again " + again);
            }
        }
    }

    /** Back to where the group is, for what was aborted to be read again. */
    static void rewind(KafkaConsumer<byte[], byte[]> consumer) {
        var committed = consumer.committed(consumer.assignment());
        committed.forEach((partition, offset) -> {
            if (offset == null) consumer.seekToBeginning(List.of(partition));
            else consumer.seek(partition, offset);
        });
    }
}
