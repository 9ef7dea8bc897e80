import java.io.BufferedWriter;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.AlterPartitionReassignmentsOptions;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.FeatureUpdate;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.admin.UpdateFeaturesOptions;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidRegularExpression;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * A Kafka client for the tests: the Java client behind a few commands.
 *
 * <pre>
 * write BOOTSTRAP TOPIC CODEC FILE  each line `key TAB value` of FILE to partition 0, acks=all
 * read BOOTSTRAP TOPIC COUNT FILE   COUNT records of partition 0 as lines `offset TAB key TAB value`
 * admin BOOTSTRAP TOPIC             the life of a topic through the admin client; prints what it saw
 * consume BOOTSTRAP TOPIC GROUP [NAME=VALUE ...]
 *                                   subscribes until standard input ends, then leaves; prints
 *                                   `assigned 0,1`, `revoked 0`, `record PARTITION OFFSET VALUE` and,
 *                                   once it is committed, `committed PARTITION OFFSET`
 * group BOOTSTRAP GROUP             a group and its members as the admin client sees them
 * reassign BOOTSTRAP TOPIC          moves partition 0 to brokers 4, 2 and 3, and has 4 lead; prints what it saw
 * describe BOOTSTRAP TOPIC GROUP    what describes a cluster, and its configs, through the admin client
 * groups BOOTSTRAP TOPIC GROUP      the life of a group through the admin client; prints what it saw
 * load BOOTSTRAP TOPIC PARTITIONS   numbered records round robin until standard input ends; each
 *                                   acknowledged one is printed as `partition offset number`
 * </pre>
 */
public class Client {
    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "write" -> write(args[1], args[2], args[3], Path.of(args[4]));
            case "read" -> read(args[1], args[2], Integer.parseInt(args[3]), Path.of(args[4]));
            case "admin" -> admin(args[1], args[2]);
            case "consume" -> consume(args[1], args[2], args[3], List.of(args).subList(4, args.length));
            case "group" -> group(args[1], args[2]);
            case "reassign" -> reassign(args[1], args[2]);
            case "describe" -> describe(args[1], args[2], args[3]);
            case "groups" -> groups(args[1], args[2], args[3]);
            case "load" -> load(args[1], args[2], Integer.parseInt(args[3]));
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    static KafkaProducer<String, String> producer(String bootstrap, String codec) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("compression.type", codec);
        settings.put("linger.ms", "5");
        settings.put("batch.size", "65536");
        settings.put("key.serializer", StringSerializer.class.getName());
        settings.put("value.serializer", StringSerializer.class.getName());
        return new KafkaProducer<>(settings); // acks=all and idempotent by default
    }

    static void write(String bootstrap, String topic, String codec, Path file) throws Exception {
        AtomicReference<Exception> failure = new AtomicReference<>();
        try (var producer = producer(bootstrap, codec); var lines = Files.lines(file)) {
            for (String line : (Iterable<String>) lines::iterator) {
                String[] parts = line.split("\t");
                producer.send(new ProducerRecord<>(topic, 0, parts[0], parts[1]), (done, error) -> {
                    if (error != null) failure.compareAndSet(null, error);
                });
            }
        }
        if (failure.get() != null) throw failure.get();
    }

    static void read(String bootstrap, String topic, int count, Path file) throws IOException {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("auto.offset.reset", "none");
        settings.put("enable.auto.commit", "false");
        settings.put("fetch.max.wait.ms", "100");
        settings.put("key.deserializer", StringDeserializer.class.getName());
        settings.put("value.deserializer", StringDeserializer.class.getName());
        TopicPartition partition = new TopicPartition(topic, 0);
        try (var consumer = new KafkaConsumer<String, String>(settings);
                BufferedWriter out = Files.newBufferedWriter(file)) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, 0);
            int left = count;
            long deadline = System.nanoTime() + Duration.ofSeconds(120).toNanos();
            while (left > 0) {
                if (System.nanoTime() > deadline) throw new IOException(left + " records did not come");
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofSeconds(1))) {
                    out.write(record.offset() + "\t" + record.key() + "\t" + record.value() + "\n");
                    left--;
                }
            }
        }
    }

    /** The result as text, or the name of the error. */
    static String outcome(KafkaFuture<?> future) throws InterruptedException {
        try {
            return String.valueOf(future.get());
        } catch (ExecutionException error) {
            return error.getCause().getClass().getSimpleName();
        }
    }

    static void admin(String bootstrap, String topic) throws Exception {
        List<String> seen = new ArrayList<>();
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
                var producer = producer(bootstrap, "none")) {
            seen.add("brokers " + admin.describeCluster().nodes().get().size());
            NewTopic topicOfTwo = new NewTopic(topic, 2, (short) 3).configs(Map.of("retention.ms", "5000"));
            seen.add("create " + outcome(admin.createTopics(List.of(topicOfTwo)).all()));
            seen.add("create again " + outcome(admin.createTopics(List.of(topicOfTwo)).all()));
            NewTopic wide = new NewTopic(topic + "-wide", 1, (short) 9);
            seen.add("create wide " + outcome(admin.createTopics(List.of(wide)).all()));
            NewTopic badName = new NewTopic("a/b", 1, (short) 1);
            seen.add("create bad name " + outcome(admin.createTopics(List.of(badName)).all()));
            NewTopic badConfig = new NewTopic(topic + "-bad", 1, (short) 1).configs(Map.of("retention.ms", "soon"));
            seen.add("create bad config " + outcome(admin.createTopics(List.of(badConfig)).all()));
            seen.add("grow " + outcome(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all()));
            seen.add("shrink " + outcome(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(1))).all()));
            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
            var config = admin.describeConfigs(List.of(resource)).all().get().get(resource);
            seen.add("retention.ms " + config.get("retention.ms").value() + " " + config.get("retention.ms").source());
            seen.add("retention.bytes " + config.get("retention.bytes").value() + " " + config.get("retention.bytes").source());
            seen.add("alter " + alter(admin, resource, "retention.ms", "7000", AlterConfigOp.OpType.SET));
            seen.add("altered " + altered(admin, resource, "retention.ms", "7000"));
            seen.add("append " + alter(admin, resource, "cleanup.policy", "delete", AlterConfigOp.OpType.APPEND));
            seen.add("append to none " + alter(admin, resource, "retention.ms", "1", AlterConfigOp.OpType.APPEND));
            seen.add("alter bad " + alter(admin, resource, "retention.ms", "soon", AlterConfigOp.OpType.SET));
            seen.add("reset " + alter(admin, resource, "retention.ms", "", AlterConfigOp.OpType.DELETE));
            seen.add("altered " + altered(admin, resource, "retention.ms", "604800000"));
            ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, "1");
            seen.add("alter broker " + alter(admin, broker, "num.partitions", "2", AlterConfigOp.OpType.SET));
            var description = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
            seen.add("partitions " + description.partitions().size());
            for (int n = 0; n < 10; n++) producer.send(new ProducerRecord<>(topic, 0, null, "" + n)).get();
            TopicPartition first = new TopicPartition(topic, 0);
            var cut = admin.deleteRecords(Map.of(first, RecordsToDelete.beforeOffset(4)));
            seen.add("low watermark " + cut.lowWatermarks().get(first).get().lowWatermark());
            seen.add("earliest " + admin.listOffsets(Map.of(first, OffsetSpec.earliest())).partitionResult(first).get().offset());
            seen.add("latest " + admin.listOffsets(Map.of(first, OffsetSpec.latest())).partitionResult(first).get().offset());
            seen.add("newest " + admin.listOffsets(Map.of(first, OffsetSpec.maxTimestamp())).partitionResult(first).get().offset());
            var features = admin.describeFeatures().featureMetadata().get();
            seen.add("supported " + features.supportedFeatures());
            seen.add("finalized " + features.finalizedFeatures() + " " + features.finalizedFeaturesEpoch().isPresent());
            seen.add("same level " + feature(admin, 1, FeatureUpdate.UpgradeType.UPGRADE, false));
            seen.add("unknown level " + feature(admin, 99, FeatureUpdate.UpgradeType.UPGRADE, true));
            seen.add("downgrade " + feature(admin, 1, FeatureUpdate.UpgradeType.UNSAFE_DOWNGRADE, false));
            seen.add("delete " + outcome(admin.deleteTopics(List.of(topic)).all()));
            seen.add("delete again " + outcome(admin.deleteTopics(List.of(topic)).all()));
        }
        seen.forEach(System.out::println);
    }

    static String alter(Admin admin, ConfigResource resource, String name, String value, AlterConfigOp.OpType type)
            throws Exception {
        var change = new AlterConfigOp(new ConfigEntry(name, value), type);
        return outcome(admin.incrementalAlterConfigs(Map.of(resource, List.of(change))).all());
    }

    /** Any broker may answer, and one that has not heard of the change yet answers the former value. */
    static String altered(Admin admin, ConfigResource resource, String name, String expected) throws Exception {
        while (true) {
            var entry = admin.describeConfigs(List.of(resource)).all().get().get(resource).get(name);
            if (entry.value().equals(expected)) return entry.value() + " " + entry.source();
        }
    }

    static String feature(Admin admin, int level, FeatureUpdate.UpgradeType type, boolean dryRun) throws Exception {
        var update = Map.of("quorate.version", new FeatureUpdate((short) level, type));
        return outcome(admin.updateFeatures(update, new UpdateFeaturesOptions().validateOnly(dryRun)).all());
    }

    static void say(String word, Collection<TopicPartition> partitions) {
        var numbers = partitions.stream().map(it -> it.partition()).sorted().map(String::valueOf);
        System.out.println(word + " " + numbers.collect(Collectors.joining(",")));
    }

    static void consume(String bootstrap, String topic, String group, List<String> more) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("group.id", group);
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "earliest");
        settings.put("fetch.max.wait.ms", "100");
        // Where the coordinator assigns it also says how often it is to be told.
        if (!more.contains("group.protocol=consumer")) {
            settings.put("session.timeout.ms", "6000");
            settings.put("heartbeat.interval.ms", "300");
        }
        settings.put("key.deserializer", StringDeserializer.class.getName());
        settings.put("value.deserializer", StringDeserializer.class.getName());
        for (String setting : more) settings.put(setting.split("=", 2)[0], setting.split("=", 2)[1]);
        AtomicBoolean stop = toldToStop();
        try (var consumer = new KafkaConsumer<String, String>(settings)) {
            var listener = new ConsumerRebalanceListener() {
                public void onPartitionsAssigned(Collection<TopicPartition> partitions) { say("assigned", partitions); }
                public void onPartitionsRevoked(Collection<TopicPartition> partitions) { say("revoked", partitions); }
                public void onPartitionsLost(Collection<TopicPartition> partitions) { say("lost", partitions); }
            };
            if (topic.startsWith("^")) consumer.subscribe(new SubscriptionPattern(topic), listener);
            else consumer.subscribe(List.of(topic), listener);
            while (!stop.get()) {
                Map<TopicPartition, OffsetAndMetadata> read = new HashMap<>();
                for (var record : consumer.poll(Duration.ofMillis(100))) {
                    System.out.println("record " + record.partition() + " " + record.offset() + " " + record.value());
                    read.put(new TopicPartition(topic, record.partition()), new OffsetAndMetadata(record.offset() + 1));
                }
                if (read.isEmpty()) continue;
                try {
                    consumer.commitSync(read);
                    read.forEach((it, at) -> System.out.println("committed " + it.partition() + " " + at.offset()));
                } catch (CommitFailedException | RebalanceInProgressException error) {
                    System.out.println("error " + error.getClass().getSimpleName());
                }
            }
        } catch (InvalidRegularExpression error) {
            System.out.println("error " + error.getClass().getSimpleName());
        }
    }

    static void group(String bootstrap, String group) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            var seen = admin.describeConsumerGroups(List.of(group)).describedGroups().get(group).get();
            System.out.println(seen.type() + " " + seen.groupState() + " " + seen.partitionAssignor());
            for (var member : seen.members()) {
                int target = member.targetAssignment().map(it -> it.topicPartitions().size()).orElse(-1);
                System.out.println("member epoch " + member.memberEpoch().orElse(-1) + " target " + target + " assigned "
                    + member.assignment().topicPartitions().size() + " upgraded " + member.upgraded().orElse(null));
            }
        }
    }

    static void reassign(String bootstrap, String topic) throws Exception {
        var partition = new TopicPartition(topic, 0);
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            var to = Optional.of(new NewPartitionReassignment(List.of(4, 2, 3)));
            System.out.println("alter " + outcome(admin.alterPartitionReassignments(Map.of(partition, to)).all()));
            while (!admin.listPartitionReassignments(Set.of(partition)).reassignments().get().isEmpty()) Thread.sleep(50);
            var cancel = Map.of(partition, Optional.<NewPartitionReassignment>empty());
            System.out.println("cancel " + outcome(admin.alterPartitionReassignments(cancel).all()));
            var one = Optional.of(new NewPartitionReassignment(List.of(4)));
            var kept = new AlterPartitionReassignmentsOptions().allowReplicationFactorChange(false);
            System.out.println("fewer " + outcome(admin.alterPartitionReassignments(Map.of(partition, one), kept).all()));
            var unknown = Map.of(new TopicPartition(topic, 9), to);
            System.out.println("unknown " + outcome(admin.alterPartitionReassignments(unknown).all()));
            var replicas = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().get(0);
            System.out.println("replicas " + replicas.replicas().stream().map(it -> it.id()).toList());
            String elected;
            do {
                elected = outcome(admin.electLeaders(ElectionType.PREFERRED, Set.of(partition)).all());
            } while (elected.equals("PreferredLeaderNotAvailableException"));
            System.out.println("elect " + elected.replace("ElectionNotNeededException", "null"));
            System.out.println("again " + outcome(admin.electLeaders(ElectionType.PREFERRED, Set.of(partition)).all()));
            System.out.println("all " + outcome(admin.electLeaders(ElectionType.PREFERRED, null).all()));
            System.out.println("unclean " + outcome(admin.electLeaders(ElectionType.UNCLEAN, Set.of(partition)).all()));
            System.out.println("unregister " + outcome(admin.unregisterBroker(1).all()));
            System.out.println("nobody " + outcome(admin.unregisterBroker(99).all()));
        }
    }

    static void describe(String bootstrap, String topic, String group) throws Exception {
        var ofGroup = new ConfigResource(ConfigResource.Type.GROUP, group);
        var one = new ConfigResource(ConfigResource.Type.BROKER, "1");
        var all = new ConfigResource(ConfigResource.Type.BROKER, "");
        var ofTopic = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        var set = AlterConfigOp.OpType.SET;
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            admin.createTopics(List.of(new NewTopic(topic, 3, (short) 3))).all().get();
            config(admin, "group", ofGroup, "consumer.session.timeout.ms", "45000");
            System.out.println("alter group " + alter(admin, ofGroup, "consumer.session.timeout.ms", "60000", set));
            config(admin, "group", ofGroup, "consumer.session.timeout.ms", "60000");
            System.out.println("alter all " + alter(admin, all, "log.retention.ms", "7000", set));
            config(admin, "broker", one, "log.retention.ms", "7000");
            var named = admin.describeConfigs(List.of(all)).all().get().get(all).entries();
            System.out.println("all " + named.stream().map(ConfigEntry::name).toList());
            config(admin, "topic", ofTopic, "retention.ms", "7000");
            System.out.println("alter one " + alter(admin, one, "max.connections", "500", set));
            config(admin, "broker", one, "max.connections", "500");
            System.out.println("not of one " + alter(admin, one, "log.retention.ms", "1", set));
            System.out.println("not at all " + alter(admin, all, "log.dirs", "/x", set));
            List<String> resources;
            do {
                var listed = admin.listConfigResources().all().get();
                resources = listed.stream().map(it -> it.type() + ":" + it.name()).sorted().toList();
            } while (resources.size() < 5);
            System.out.println("resources " + resources);
            System.out.println("back " + alter(admin, all, "log.retention.ms", "", AlterConfigOp.OpType.DELETE));
            config(admin, "topic", ofTopic, "retention.ms", "604800000");
            try (var producer = producer(bootstrap, "none")) {
                for (int n = 0; n < 3; n++) producer.send(new ProducerRecord<>(topic, n, null, "value")).get();
            }
            var dirs = admin.describeLogDirs(List.of(1)).allDescriptions().get().get(1);
            var dir = dirs.values().iterator().next();
            var sizes = dir.replicaInfos().entrySet().stream().filter(it -> it.getKey().topic().equals(topic)).toList();
            System.out.println("dirs " + dirs.size() + " partitions " + sizes.size() + " bytes "
                + sizes.stream().anyMatch(it -> it.getValue().size() > 60) + " room "
                + (dir.usableBytes().getAsLong() > 0 && dir.totalBytes().getAsLong() >= dir.usableBytes().getAsLong()));
            var quorum = admin.describeMetadataQuorum().quorumInfo().get();
            var voters = quorum.voters().stream().map(it -> it.replicaId()).sorted().toList();
            System.out.println("quorum voters " + voters + " led " + voters.contains(quorum.leaderId()) + " ends "
                + quorum.voters().stream().anyMatch(it -> it.logEndOffset() > 0) + " nodes " + quorum.nodes().size());
            var described = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions();
            System.out.println("topic " + described.size() + " partitions " + described.get(0).replicas().size() + " replicas");
            System.out.println("unknown " + outcome(admin.describeTopics(List.of(topic + "-none")).allTopicNames()));
        }
    }

    /** Prints a config once every change before has come to the broker that is asked. */
    static void config(Admin admin, String what, ConfigResource of, String name, String value) throws Exception {
        ConfigEntry entry;
        do {
            entry = admin.describeConfigs(List.of(of)).all().get().get(of).get(name);
        } while (!entry.value().equals(value));
        System.out.println(what + " " + name + " " + entry.value() + " " + entry.source());
    }

    static void groups(String bootstrap, String topic, String group) throws Exception {
        List<String> seen = new ArrayList<>();
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            admin.createTopics(List.of(new NewTopic(topic, 2, (short) 3))).all().get();
            TopicPartition first = new TopicPartition(topic, 0);
            var offsets = Map.of(first, new OffsetAndMetadata(7, Optional.of(1), "note"));
            seen.add("alter " + outcome(admin.alterConsumerGroupOffsets(group, offsets).all()));
            seen.add("offsets " + outcome(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()));
            seen.add("list " + listed(admin, group));
            seen.add("describe " + described(admin, group));
            seen.add("delete offsets " + outcome(admin.deleteConsumerGroupOffsets(group, Set.of(first)).all()));
            seen.add("no offsets " + outcome(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()));
            Properties settings = new Properties();
            settings.put("bootstrap.servers", bootstrap);
            settings.put("group.id", group);
            settings.put("group.instance.id", "one");
            settings.put("key.deserializer", StringDeserializer.class.getName());
            settings.put("value.deserializer", StringDeserializer.class.getName());
            try (var consumer = new KafkaConsumer<String, String>(settings)) {
                consumer.subscribe(List.of(topic));
                while (consumer.assignment().isEmpty()) consumer.poll(Duration.ofMillis(100));
                seen.add("living " + described(admin, group));
                seen.add("delete living " + outcome(admin.deleteConsumerGroups(List.of(group)).all()));
                seen.add("delete read " + outcome(admin.deleteConsumerGroupOffsets(group, Set.of(first)).all()));
                seen.add("alter living " + outcome(admin.alterConsumerGroupOffsets(group, offsets).all()));
            }
            // A static member does not leave when it stops; an operator has it go.
            seen.add("still there " + described(admin, group));
            var member = new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("one")));
            seen.add("remove " + outcome(admin.removeMembersFromConsumerGroup(group, member).all()));
            seen.add("empty " + described(admin, group));
            seen.add("delete " + outcome(admin.deleteConsumerGroups(List.of(group)).all()));
            seen.add("delete again " + outcome(admin.deleteConsumerGroups(List.of(group)).all()));
            seen.add("list deleted " + listed(admin, group));
        }
        seen.forEach(System.out::println);
    }

    static String listed(Admin admin, String group) throws Exception {
        var found = admin.listGroups().all().get().stream().filter(it -> it.groupId().equals(group));
        return found.map(it -> it.groupState().get() + " " + it.type().get() + " " + it.protocol()).toList().toString();
    }

    static String described(Admin admin, String group) throws Exception {
        var description = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
        var members = description.members().stream().map(it -> it.groupInstanceId().orElse("-") + " " + it.host() + " " + it.assignment().topicPartitions().size());
        return description.groupState() + " " + description.partitionAssignor() + " " + members.toList();
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

    static void load(String bootstrap, String topic, int partitions) throws Exception {
        AtomicBoolean stop = toldToStop();
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        try (var producer = producer(bootstrap, "none")) {
            for (long number = 0; !stop.get(); number++) {
                String value = Long.toString(number);
                int partition = (int) (number % partitions);
                producer.send(new ProducerRecord<>(topic, partition, null, value), (done, error) -> {
                    if (error == null) out.println(done.partition() + " " + done.offset() + " " + value);
                    else out.println("failed " + value + " " + error);
                });
                if (number % 10 == 0) Thread.sleep(1);
            }
        }
        out.flush();
    }
}
