import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.StringJoiner;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The Java client behind the commands of the matrix (tests/clients/README.md); compiles with kafka-clients 3.9 and 4. */
public class Matrix {
    static final HexFormat HEX = HexFormat.of();
    static final PrintStream OUT = new PrintStream(System.out, false, StandardCharsets.UTF_8);

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "produce" -> produce(args[1], args[2], args[3]);
            case "fetch" -> fetch(args[1], args[2], Integer.parseInt(args[3]), List.of(args).subList(4, args.length));
            case "at" -> at(args[1], args[2], Long.parseLong(args[3]));
            case "consume" -> consume(args[1], args[2], args[3], List.of(args).subList(4, args.length));
            case "admin" -> admin(args[1], args[2], args[3]);
            default -> throw new IllegalArgumentException(args[0]);
        }
        OUT.flush();
    }

    static byte[] bytes(String field) {
        return field.equals("-") ? null : HEX.parseHex(field);
    }

    static String text(byte[] bytes) {
        return bytes == null ? "-" : HEX.formatHex(bytes);
    }

    static void produce(String bootstrap, String topic, String codec) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("compression.type", codec);
        settings.put("linger.ms", "20");
        settings.put("key.serializer", ByteArraySerializer.class.getName());
        settings.put("value.serializer", ByteArraySerializer.class.getName());
        AtomicReference<Exception> failure = new AtomicReference<>();
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        try (var producer = new KafkaProducer<byte[], byte[]>(settings)) { // idempotent by default
            for (String line; (line = lines.readLine()) != null; ) {
                String[] field = line.split("\t", -1);
                var record = new ProducerRecord<>(topic, 0, Long.valueOf(field[0]), bytes(field[1]), bytes(field[2]));
                for (String header : field[3].isEmpty() ? new String[0] : field[3].split(",")) {
                    String[] pair = header.split(":", -1);
                    record.headers().add(pair[0], bytes(pair[1]));
                }
                producer.send(record, (done, error) -> failure.compareAndSet(null, error));
            }
        }
        if (failure.get() != null) throw failure.get();
    }

    static Properties consumer(String bootstrap) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("enable.auto.commit", "false");
        settings.put("fetch.max.wait.ms", "100");
        settings.put("key.deserializer", ByteArrayDeserializer.class.getName());
        settings.put("value.deserializer", ByteArrayDeserializer.class.getName());
        return settings;
    }

    static void show(ConsumerRecord<byte[], byte[]> record) {
        StringJoiner headers = new StringJoiner(",");
        record.headers().forEach(it -> headers.add(it.key() + ":" + text(it.value())));
        OUT.println(record.offset() + "\t" + record.timestamp() + "\t" + text(record.key()) + "\t" + text(record.value()) + "\t" + headers);
    }

    static void read(KafkaConsumer<byte[], byte[]> consumer, int count) throws IOException {
        long deadline = System.nanoTime() + Duration.ofSeconds(60).toNanos();
        for (int left = count; left > 0; ) {
            if (System.nanoTime() > deadline) throw new IOException(left + " records did not come");
            for (var record : consumer.poll(Duration.ofSeconds(1))) if (left-- > 0) show(record);
        }
    }

    static void fetch(String bootstrap, String topic, int count, List<String> more) throws IOException {
        TopicPartition partition = new TopicPartition(topic, 0);
        Properties settings = consumer(bootstrap);
        for (String setting : more) settings.put(setting.split("=", 2)[0], setting.split("=", 2)[1]);
        try (var consumer = new KafkaConsumer<byte[], byte[]>(settings)) {
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            read(consumer, count);
        }
    }

    static void at(String bootstrap, String topic, long time) throws IOException {
        TopicPartition partition = new TopicPartition(topic, 0);
        try (var consumer = new KafkaConsumer<byte[], byte[]>(consumer(bootstrap))) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, consumer.offsetsForTimes(Map.of(partition, time)).get(partition).offset());
            read(consumer, 1);
        }
    }

    static void say(String word, Collection<TopicPartition> partitions) {
        var numbers = partitions.stream().map(it -> it.partition()).sorted().map(String::valueOf);
        OUT.println(word + " " + numbers.collect(Collectors.joining(",")));
        OUT.flush();
    }

    static void consume(String bootstrap, String topic, String group, List<String> more) throws Exception {
        Properties settings = consumer(bootstrap);
        settings.put("group.id", group);
        settings.put("auto.offset.reset", "earliest");
        // Where the coordinator assigns it also says how often it is to be told.
        if (!more.contains("group.protocol=consumer")) {
            settings.put("session.timeout.ms", "6000");
            settings.put("heartbeat.interval.ms", "300");
        }
        for (String setting : more) settings.put(setting.split("=", 2)[0], setting.split("=", 2)[1]);
        AtomicBoolean stop = toldToStop();
        try (var consumer = new KafkaConsumer<byte[], byte[]>(settings)) {
            consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                public void onPartitionsAssigned(Collection<TopicPartition> partitions) { say("assigned", partitions); }
                public void onPartitionsRevoked(Collection<TopicPartition> partitions) { say("revoked", partitions); }
                public void onPartitionsLost(Collection<TopicPartition> partitions) { say("lost", partitions); }
            });
            while (!stop.get()) {
                Map<TopicPartition, OffsetAndMetadata> read = new HashMap<>();
                for (var record : consumer.poll(Duration.ofMillis(100))) {
                    OUT.println("record " + record.partition() + " " + record.offset() + " " + new String(record.value(), StandardCharsets.UTF_8));
                    read.put(new TopicPartition(topic, record.partition()), new OffsetAndMetadata(record.offset() + 1));
                }
                OUT.flush();
                try {
                    if (!read.isEmpty()) consumer.commitSync(read);
                } catch (CommitFailedException | RebalanceInProgressException error) {
                    OUT.println("error " + error);
                }
            }
        }
    }

    static AtomicBoolean toldToStop() {
        AtomicBoolean stop = new AtomicBoolean();
        Thread watcher = new Thread(() -> {
            try {
                while (System.in.read() >= 0) { }
            } catch (IOException end) {
                // the same as the end of the input
            }
            stop.set(true);
        });
        watcher.setDaemon(true);
        watcher.start();
        return stop;
    }

    /** Kafka's number of the error, 0 for none. */
    static int code(Future<?> future) throws InterruptedException {
        try {
            future.get();
            return 0;
        } catch (ExecutionException error) {
            return Errors.forException(error.getCause()).code();
        }
    }

    static String retention(Admin admin, ConfigResource topic) throws Exception {
        return admin.describeConfigs(List.of(topic)).all().get().get(topic).get("retention.ms").value();
    }

    static void admin(String bootstrap, String topic, String group) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            NewTopic wanted = new NewTopic(topic, 2, (short) 3).configs(Map.of("retention.ms", "5000"));
            OUT.println("create " + code(admin.createTopics(List.of(wanted)).all()));
            OUT.println("create again " + code(admin.createTopics(List.of(wanted)).all()));
            // Any broker may answer, and one that has not heard of the change yet answers as before it.
            while (!admin.listTopics().names().get().contains(topic)) Thread.onSpinWait();
            OUT.println("listed true");
            OUT.println("grow " + code(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all()));
            while (admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size() != 3) Thread.onSpinWait();
            OUT.println("partitions 3");
            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
            OUT.println("config " + retention(admin, resource));
            var change = new AlterConfigOp(new ConfigEntry("retention.ms", "7000"), AlterConfigOp.OpType.SET);
            OUT.println("alter " + code(admin.incrementalAlterConfigs(Map.of(resource, List.of(change))).all()));
            while (!retention(admin, resource).equals("7000")) Thread.onSpinWait();
            OUT.println("altered 7000");
            OUT.println("delete " + code(admin.deleteTopics(List.of(topic)).all()));
            OUT.println("delete again " + code(admin.deleteTopics(List.of(topic)).all()));
            OUT.println("groups " + admin.listConsumerGroups().all().get().stream().anyMatch(it -> it.groupId().equals(group)));
            OUT.println("group " + admin.describeConsumerGroups(List.of(group)).all().get().get(group).state());
            var offsets = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
            OUT.println("offset " + offsets.get(new TopicPartition(group, 0)).offset());
            OUT.println("delete group " + code(admin.deleteConsumerGroups(List.of(group)).all()));
            OUT.println("delete group again " + code(admin.deleteConsumerGroups(List.of(group)).all()));
        }
    }
}
