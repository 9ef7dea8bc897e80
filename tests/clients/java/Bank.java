import java.io.IOException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Properties;
import java.util.Random;
import java.util.TreeMap;
import java.util.UUID;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Accounts that are streams of events, with the commands of tests/clients/python/bank.py: HTTP by the JDK, and Kafka's client
 * for the view, which is one file that is replaced as a whole.
 */
public class Bank {
    static final int ACCOUNTS = 2;
    /** A JSON library would do better; this example gets by without one. */
    static final Pattern EVENT = Pattern.compile("\"type\":\\s*\"(\\w+)\",\\s*\"amount\":\\s*(\\d+)");

    record Event(String type, long amount) {
        long signed() {
            return type.equals("deposited") ? amount : -amount;
        }

        String json() {
            return "{\"type\":\"" + type + "\",\"amount\":" + amount + "}";
        }

        static List<Event> all(String text) {
            return EVENT.matcher(text).results().map(it -> new Event(it.group(1), Long.parseLong(it.group(2)))).toList();
        }
    }

    record Stream(long version, List<Event> events) {}

    static class Conflict extends Exception {}

    static class Refused extends Exception {}

    /** The streams of a topic. Any broker will do, so when one fails the next is asked. */
    record EventStore(HttpClient http, List<String> brokers, String topic) {
        Stream load(String key) throws Exception {
            List<Event> events = new ArrayList<>();
            long version = 0;
            for (String next = "1"; next != null; ) {
                var answer = ask(key, "?from_version=" + next, it -> it.GET().header("Accept", "application/x-ndjson"));
                boolean none = answer.body().contains("\"unknown_stream\"") || answer.body().contains("\"stream_deleted\"");
                if (answer.statusCode() == 404 && none) return new Stream(version(answer), List.of());
                if (answer.statusCode() != 200) throw new IOException(answer.body());
                version = version(answer);
                answer.body().lines().forEach(line -> events.addAll(Event.all(line)));
                next = answer.headers().firstValue("quorate-next-version").orElse(null);
            }
            return new Stream(version, events);
        }

        /** Appends if the version is still the expected one. */
        void append(String key, long expected, List<Event> events) throws Exception {
            String body = events.stream().map(it -> "{\"value\":" + it.json() + "}").toList().toString();
            // The same for every attempt: an append whose answer was lost is not carried out twice.
            String once = UUID.randomUUID().toString();
            var answer = ask(key, "", it -> it.POST(HttpRequest.BodyPublishers.ofString("{\"events\":" + body + "}"))
                .header("Content-Type", "application/json").header("If-Match", "\"" + expected + "\"").header("Idempotency-Key", once));
            if (answer.statusCode() == 412) throw new Conflict();
            if (answer.statusCode() != 201) throw new IOException(answer.body());
        }

        /** The version is the entity tag; where there never was a stream there is none. */
        static long version(HttpResponse<String> answer) {
            return answer.headers().firstValue("ETag").map(tag -> Long.parseLong(tag.replace("\"", ""))).orElse(0L);
        }

        HttpResponse<String> ask(String key, String query, java.util.function.UnaryOperator<HttpRequest.Builder> how) throws Exception {
            String path = "/v1/topics/" + topic + "/streams/" + URLEncoder.encode(key, StandardCharsets.UTF_8) + query;
            for (int attempt = 0; attempt < 600; attempt++) {
                try {
                    var uri = URI.create("http://" + brokers.get(attempt % brokers.size()) + path);
                    var request = how.apply(HttpRequest.newBuilder(uri).timeout(Duration.ofSeconds(40))).build();
                    var answer = http.send(request, HttpResponse.BodyHandlers.ofString());
                    if (answer.statusCode() != 503 && answer.statusCode() != 504) return answer;
                } catch (IOException unreachable) {
                    // this broker does not answer
                }
                Thread.sleep(100);
            }
            throw new IOException("no broker answers " + path);
        }
    }

    static List<Event> decide(List<Event> events, Event wanted) throws Refused {
        long balance = events.stream().mapToLong(Event::signed).sum();
        if (balance + wanted.signed() < 0) throw new Refused();
        return List.of(wanted);
    }

    static void work(List<String> brokers, String topic, long seed, int count) throws Exception {
        var store = new EventStore(HttpClient.newHttpClient(), brokers, topic);
        var random = new Random(seed);
        int conflicts = 0;
        for (int n = 0; n < count; n++) {
            String key = "account-" + random.nextInt(ACCOUNTS);
            var wanted = new Event(random.nextBoolean() ? "deposited" : "withdrawn", 1 + random.nextInt(99));
            for (boolean done = false; !done; ) {
                var stream = store.load(key);
                try {
                    store.append(key, stream.version(), decide(stream.events(), wanted));
                    System.out.println(wanted.type() + " " + key + " " + wanted.amount());
                    done = true;
                } catch (Conflict again) {
                    conflicts++; // load and decide again
                } catch (Refused refused) {
                    System.out.println("refused " + key + " " + wanted.amount());
                    done = true;
                }
            }
        }
        System.out.println("conflicts " + conflicts);
    }

    /** Balances, how many events they are of, and how far the partitions were read: one file, replaced as a whole. */
    static class View {
        final Path file;
        final TreeMap<String, long[]> accounts = new TreeMap<>();
        final TreeMap<Integer, Long> positions = new TreeMap<>();

        View(Path file) throws IOException {
            this.file = file;
            if (!Files.exists(file)) return;
            for (String line : Files.readAllLines(file)) {
                String[] word = line.split(" ");
                if (word[0].equals("position")) positions.put(Integer.valueOf(word[1]), Long.valueOf(word[2]));
                else accounts.put(word[0], new long[] {Long.parseLong(word[1]), Long.parseLong(word[2])});
            }
        }

        void store() throws IOException {
            List<String> lines = new ArrayList<>();
            accounts.forEach((id, sums) -> lines.add(id + " " + sums[0] + " " + sums[1]));
            positions.forEach((partition, position) -> lines.add("position " + partition + " " + position));
            Path next = file.resolveSibling(file.getFileName() + ".next");
            Files.write(next, lines);
            try (var channel = java.nio.channels.FileChannel.open(next)) {
                channel.force(true);
            }
            Files.move(next, file, StandardCopyOption.ATOMIC_MOVE);
        }
    }

    static void view(String bootstrap, String topic, String group, Path file) throws Exception {
        var view = new View(file);
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("group.id", group);
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "earliest");
        settings.put("session.timeout.ms", "6000");
        settings.put("key.deserializer", StringDeserializer.class.getName());
        settings.put("value.deserializer", StringDeserializer.class.getName());
        try (var consumer = new KafkaConsumer<String, String>(settings)) {
            consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                public void onPartitionsRevoked(Collection<TopicPartition> gone) {}

                // How far each was read stands in the view; the group only shares them out.
                public void onPartitionsAssigned(Collection<TopicPartition> given) {
                    given.forEach(it -> consumer.seek(it, view.positions.getOrDefault(it.partition(), 0L)));
                }
            });
            while (System.in.available() == 0) {
                var records = consumer.poll(Duration.ofMillis(200));
                if (records.isEmpty()) continue;
                records.forEach(record -> {
                    var sums = view.accounts.computeIfAbsent(record.key(), id -> new long[2]);
                    sums[0] += Event.all(record.value()).get(0).signed();
                    sums[1]++;
                    view.positions.put(record.partition(), record.offset() + 1);
                });
                view.store();
                view.positions.forEach((partition, position) -> System.out.println("stored " + partition + " " + position));
            }
        }
    }

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "work" -> work(List.of(args[1].split(",")), args[2], Long.parseLong(args[3]), Integer.parseInt(args[4]));
            case "view" -> view(args[1], args[2], args[3], Path.of(args[4]));
            default -> new View(Path.of(args[1])).accounts.forEach((id, sums) -> System.out.println(id + " " + sums[0] + " " + sums[1]));
        }
    }
}
