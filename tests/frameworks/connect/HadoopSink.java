import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.UUID;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericRecord;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileContext;
import org.apache.hadoop.fs.Options.Rename;
import org.apache.hadoop.fs.Path;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.connect.connector.Task;
import org.apache.kafka.connect.data.Field;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.sink.SinkConnector;
import org.apache.kafka.connect.sink.SinkRecord;
import org.apache.kafka.connect.sink.SinkTask;
import org.apache.parquet.avro.AvroParquetWriter;
import org.apache.parquet.hadoop.ParquetFileWriter.Mode;
import org.apache.parquet.hadoop.metadata.CompressionCodecName;
import org.apache.parquet.hadoop.util.HadoopOutputFile;

/**
 * A sink into Hadoop's layout: Parquet files below year=/month=/day=/hour=, by the times of the records. Each file is
 * named for the chunk of a partition that it is of, and an offset is committed when its chunk is written: who begins a
 * chunk again writes the same files again, so each record is in them once.
 */
public class HadoopSink extends SinkConnector {
    private Map<String, String> settings;

    @Override
    public void start(Map<String, String> settings) {
        this.settings = settings;
    }

    @Override
    public Class<? extends Task> taskClass() {
        return Writer.class;
    }

    @Override
    public List<Map<String, String>> taskConfigs(int most) {
        return Collections.nCopies(most, settings);
    }

    @Override
    public void stop() {
    }

    @Override
    public ConfigDef config() {
        return new ConfigDef()
            .define("hadoop.root", ConfigDef.Type.STRING, ConfigDef.Importance.HIGH, "Where the layout begins, a URI")
            .define("chunk.records", ConfigDef.Type.INT, ConfigDef.Importance.HIGH, "Records of a partition in a chunk");
    }

    @Override
    public String version() {
        return "1";
    }

    public static class Writer extends SinkTask {
        private static final DateTimeFormatter HOUR =
            DateTimeFormatter.ofPattern("'year='yyyy'/month='MM'/day='dd'/hour='HH").withZone(ZoneOffset.UTC);

        private final Configuration hadoop = new Configuration();
        private final Map<TopicPartition, List<SinkRecord>> chunks = new HashMap<>();
        private final Map<TopicPartition, OffsetAndMetadata> written = new HashMap<>();
        private Path root;
        private int chunkRecords;

        @Override
        public void start(Map<String, String> settings) {
            root = new Path(settings.get("hadoop.root"));
            chunkRecords = Integer.parseInt(settings.get("chunk.records"));
        }

        @Override
        public void open(Collection<TopicPartition> partitions) {
            partitions.forEach(partition -> chunks.put(partition, new ArrayList<>()));
        }

        @Override
        public void close(Collection<TopicPartition> partitions) {
            chunks.keySet().removeAll(partitions);
            written.keySet().removeAll(partitions);
        }

        @Override
        public void put(Collection<SinkRecord> records) {
            for (SinkRecord record : records) {
                var partition = new TopicPartition(record.topic(), record.kafkaPartition());
                List<SinkRecord> chunk = chunks.get(partition);
                chunk.add(record);
                if (chunk.size() < chunkRecords) continue;
                try {
                    write(partition, chunk);
                } catch (IOException error) {
                    throw new UncheckedIOException(error);
                }
                written.put(partition, new OffsetAndMetadata(record.kafkaOffset() + 1));
                chunk.clear();
            }
        }

        @Override
        public Map<TopicPartition, OffsetAndMetadata> preCommit(Map<TopicPartition, OffsetAndMetadata> read) {
            return Map.copyOf(written);
        }

        private void write(TopicPartition partition, List<SinkRecord> chunk) throws IOException {
            Map<String, List<SinkRecord>> hours = new TreeMap<>();
            for (SinkRecord record : chunk) {
                String hour = HOUR.format(Instant.ofEpochMilli(record.timestamp()));
                hours.computeIfAbsent(hour, none -> new ArrayList<>()).add(record);
            }
            String name = "%s+%d+%010d.parquet".formatted(partition.topic(), partition.partition(), chunk.get(0).kafkaOffset());
            for (var hour : hours.entrySet()) {
                // Hidden from whoever reads the layout until it is whole.
                Path draft = new Path(new Path(root, hour.getKey()), "." + name + "." + UUID.randomUUID());
                write(draft, hour.getValue());
                Path file = new Path(draft.getParent(), name);
                FileContext.getFileContext(root.toUri(), hadoop).rename(draft, file, Rename.OVERWRITE);
            }
        }

        private void write(Path file, List<SinkRecord> records) throws IOException {
            var schema = avro(records.get(0).valueSchema());
            try (var writer = AvroParquetWriter.<GenericRecord>builder(HadoopOutputFile.fromPath(file, hadoop))
                     .withSchema(schema).withWriteMode(Mode.CREATE).withCompressionCodec(CompressionCodecName.SNAPPY).build()) {
                for (SinkRecord record : records) {
                    var row = new GenericData.Record(schema);
                    row.put("kafka_partition", record.kafkaPartition());
                    row.put("kafka_offset", record.kafkaOffset());
                    row.put("kafka_timestamp", record.timestamp());
                    row.put("kafka_key", record.key());
                    Struct value = (Struct) record.value();
                    for (Field field : value.schema().fields()) row.put(field.name(), value.get(field));
                    writer.write(row);
                }
            }
        }

        private static org.apache.avro.Schema avro(Schema schema) {
            var fields = org.apache.avro.SchemaBuilder.record("Row").fields()
                .requiredInt("kafka_partition").requiredLong("kafka_offset").requiredLong("kafka_timestamp")
                .requiredString("kafka_key");
            for (Field field : schema.fields()) {
                var type = org.apache.avro.Schema.create(switch (field.schema().type()) {
                    case INT64 -> org.apache.avro.Schema.Type.LONG;
                    case FLOAT64 -> org.apache.avro.Schema.Type.DOUBLE;
                    case BOOLEAN -> org.apache.avro.Schema.Type.BOOLEAN;
                    case STRING -> org.apache.avro.Schema.Type.STRING;
                    default -> throw new IllegalArgumentException(field.toString());
                });
                var nothing = org.apache.avro.Schema.create(org.apache.avro.Schema.Type.NULL);
                fields.name(field.name())
                    .type(field.schema().isOptional() ? org.apache.avro.Schema.createUnion(nothing, type) : type).noDefault();
            }
            return fields.endRecord();
        }

        @Override
        public void stop() {
        }

        @Override
        public String version() {
            return "1";
        }
    }
}
