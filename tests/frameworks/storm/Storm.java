import java.util.Map;
import java.util.Properties;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.storm.Config;
import org.apache.storm.LocalCluster;
import org.apache.storm.kafka.bolt.KafkaBolt;
import org.apache.storm.kafka.bolt.mapper.FieldNameBasedTupleToKafkaMapper;
import org.apache.storm.kafka.bolt.selector.DefaultTopicSelector;
import org.apache.storm.kafka.spout.FirstPollOffsetStrategy;
import org.apache.storm.kafka.spout.KafkaSpout;
import org.apache.storm.kafka.spout.KafkaSpoutConfig;
import org.apache.storm.task.TopologyContext;
import org.apache.storm.topology.BasicOutputCollector;
import org.apache.storm.topology.OutputFieldsDeclarer;
import org.apache.storm.topology.TopologyBuilder;
import org.apache.storm.topology.base.BaseBasicBolt;
import org.apache.storm.tuple.Fields;
import org.apache.storm.tuple.Tuple;
import org.apache.storm.tuple.Values;

/**
 * A topology of Apache Storm in a local cluster: a spout that reads a topic, a bolt that says where each record was, and one that
 * writes that to another topic. Arguments: bootstrap servers, topic to read, topic to write, group. It ends with its input.
 */
public class Storm {
    public static void main(String[] args) throws Exception {
        var spout = KafkaSpoutConfig.builder(args[0], args[1])
            .setProp("group.id", args[3])
            .setFirstPollOffsetStrategy(FirstPollOffsetStrategy.UNCOMMITTED_EARLIEST)
            .setOffsetCommitPeriodMs(500)
            .build();
        Properties producer = new Properties();
        producer.put("bootstrap.servers", args[0]);
        producer.put("key.serializer", StringSerializer.class.getName());
        producer.put("value.serializer", StringSerializer.class.getName());
        var writer = new KafkaBolt<String, String>()
            .withProducerProperties(producer)
            .withTopicSelector(new DefaultTopicSelector(args[2]))
            .withTupleToKafkaMapper(new FieldNameBasedTupleToKafkaMapper<>("place", "value"));
        TopologyBuilder builder = new TopologyBuilder();
        builder.setSpout("reads", new KafkaSpout<>(spout), 1);
        builder.setBolt("places", new Places(), 1).shuffleGrouping("reads");
        builder.setBolt("writes", writer, 1).shuffleGrouping("places");
        Config config = new Config();
        config.setMessageTimeoutSecs(10);
        config.setMaxSpoutPending(500);
        try (LocalCluster cluster = new LocalCluster();
             var topology = cluster.submitTopology(args[3], config, builder.createTopology())) {
            while (System.in.read() >= 0) {
                // Nothing is said: it works until it is killed or its input ends.
            }
        }
        // A thread of the local cluster outlives its end.
        System.exit(0);
    }

    /** Gives each record the place it was read from, and tells once which topology and task read it. */
    public static class Places extends BaseBasicBolt {
        @Override
        public void prepare(Map<String, Object> config, TopologyContext context) {
            System.out.println("topology " + context.getStormId() + " " + context.getComponentTasks("reads").get(0));
        }

        @Override
        public void execute(Tuple record, BasicOutputCollector out) {
            String place = record.getIntegerByField("partition") + "-" + record.getLongByField("offset");
            out.emit(new Values(place, record.getStringByField("value")));
        }

        @Override
        public void declareOutputFields(OutputFieldsDeclarer fields) {
            fields.declare(new Fields("place", "value"));
        }
    }
}
