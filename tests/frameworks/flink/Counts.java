import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.serialization.SerializationSchema;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.sink.TransactionNamingStrategy;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.core.execution.SavepointFormatType;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/**
 * A job of Flink: of each number of a key, how many there were and their sum, written exactly once. Arguments: the
 * bootstrap servers, the topic it reads, the topic it writes, the strategy that names transactions, where checkpoints
 * go, and the checkpoint to begin with if there is one. It ends with a savepoint when it is told to stop. Gate.java
 * says when it waits.
 */
public class Counts {
    static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

    static synchronized void say(String line) {
        OUT.println(line);
    }

    public static void main(String[] args) throws Exception {
        Map<String, String> settings = new HashMap<>();
        settings.put("parallelism.default", "2");
        settings.put("execution.checkpointing.interval", "200ms");
        settings.put("execution.checkpointing.dir", "file://" + args[4]);
        settings.put("execution.checkpointing.storage", "filesystem");
        settings.put("execution.checkpointing.externalized-checkpoint-retention", "RETAIN_ON_CANCELLATION");
        if (args.length > 5) settings.put("execution.state-recovery.path", args[5]);
        var job = StreamExecutionEnvironment.getExecutionEnvironment(Configuration.fromMap(settings));
        job.fromSource(source(args[0], args[1]), WatermarkStrategy.noWatermarks(), "numbers").uid("numbers")
            .keyBy(number -> number.f0)
            .process(new Count()).uid("counts")
            .map(new Gate()).uid("gate")
            .sinkTo(sink(args[0], args[2], args[3])).uid("sink");
        JobClient running = job.executeAsync("counts");
        Thread hearing = new Thread(() -> hear(running, "file://" + args[4]));
        hearing.setDaemon(true);
        hearing.start();
        running.getJobExecutionResult().get();
        System.exit(0);
    }

    static void hear(JobClient job, String savepoints) {
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        lines.lines().forEach(line -> {
            if (line.equals("stop")) job.stopWithSavepoint(false, savepoints, SavepointFormatType.CANONICAL);
            else Gate.told(line);
        });
    }

    static KafkaSource<Tuple2<String, Long>> source(String bootstrap, String topic) {
        return KafkaSource.<Tuple2<String, Long>>builder()
            .setBootstrapServers(bootstrap)
            .setTopics(topic)
            .setGroupId(topic)
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setDeserializer(new Numbers())
            .build();
    }

    static KafkaSink<Tuple2<String, String>> sink(String bootstrap, String topic, String strategy) {
        var records = KafkaRecordSerializationSchema.<Tuple2<String, String>>builder().setTopic(topic)
            .setKeySerializationSchema(new Field(0)).setValueSerializationSchema(new Field(1)).build();
        return KafkaSink.<Tuple2<String, String>>builder()
            .setBootstrapServers(bootstrap)
            .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
            .setTransactionalIdPrefix(topic)
            .setTransactionNamingStrategy(TransactionNamingStrategy.valueOf(strategy))
            // The connector's own is an hour, which is more than brokers allow.
            .setProperty("transaction.timeout.ms", "900000")
            .setRecordSerializer(records)
            .build();
    }

    static class Numbers implements KafkaRecordDeserializationSchema<Tuple2<String, Long>> {
        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Tuple2<String, Long>> out) {
            String key = new String(record.key(), StandardCharsets.UTF_8);
            out.collect(Tuple2.of(key, Long.valueOf(new String(record.value(), StandardCharsets.UTF_8))));
        }

        @Override
        public TypeInformation<Tuple2<String, Long>> getProducedType() {
            return Types.TUPLE(Types.STRING, Types.LONG);
        }
    }

    static class Field implements SerializationSchema<Tuple2<String, String>> {
        private final int number;

        Field(int number) {
            this.number = number;
        }

        @Override
        public byte[] serialize(Tuple2<String, String> record) {
            return record.<String>getField(number).getBytes(StandardCharsets.UTF_8);
        }
    }

    static class Count extends KeyedProcessFunction<String, Tuple2<String, Long>, Tuple2<String, String>> {
        private transient ValueState<Tuple2<Long, Long>> seen;

        @Override
        public void open(OpenContext context) {
            TypeInformation<Tuple2<Long, Long>> type = Types.TUPLE(Types.LONG, Types.LONG);
            seen = getRuntimeContext().getState(new ValueStateDescriptor<>("seen", type));
        }

        @Override
        public void processElement(Tuple2<String, Long> number, Context context, Collector<Tuple2<String, String>> out)
            throws Exception {
            var before = seen.value() == null ? Tuple2.of(0L, 0L) : seen.value();
            var now = Tuple2.of(before.f0 + 1, before.f1 + number.f1);
            seen.update(now);
            out.collect(Tuple2.of(number.f0, now.f0 + " " + now.f1));
        }
    }
}
