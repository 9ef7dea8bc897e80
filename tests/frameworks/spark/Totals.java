import static org.apache.spark.sql.functions.col;
import static org.apache.spark.sql.functions.concat_ws;
import static org.apache.spark.sql.functions.count;
import static org.apache.spark.sql.functions.sum;
import static org.apache.spark.sql.functions.udf;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.api.java.UDF2;
import org.apache.spark.sql.streaming.StreamingQuery;
import org.apache.spark.sql.types.DataTypes;

/**
 * A query of Spark's structured streaming: of each key, how many numbers there were since a time and their sum.
 * Arguments: the bootstrap servers, the topic it reads, the topic it writes, where checkpoints go, and for each
 * partition the time at which it begins, as JSON. After "hold" the task that comes upon "key 0" says "held" and waits
 * before it writes, until it is told "go". It stops at the end of its input.
 */
public class Totals {
    static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    private static final Object LOCK = new Object();
    private static boolean holds;
    private static boolean waits;

    public static void main(String[] args) throws Exception {
        SparkSession spark = SparkSession.builder()
            .master("local[2]")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.ui.enabled", "false")
            .config("spark.log.level", "ERROR")
            .config("spark.sql.shuffle.partitions", "2")
            .config("spark.local.dir", args[3] + "-local")
            .getOrCreate();
        var pass = udf((UDF2<String, String, String>) Totals::pass, DataTypes.StringType);
        var totals = spark.readStream().format("kafka")
            .option("kafka.bootstrap.servers", args[0])
            .option("subscribe", args[1])
            .option("startingOffsetsByTimestamp", "{\"" + args[1] + "\":" + args[4] + "}")
            .load()
            .selectExpr("cast(key as string) key", "cast(cast(value as string) as long) number")
            .groupBy("key")
            .agg(count("number").as("count"), sum("number").as("sum"))
            .select(col("key"), pass.apply(col("key"), concat_ws(" ", col("count"), col("sum"))).as("value"));
        StreamingQuery query = totals.writeStream().format("kafka")
            .option("kafka.bootstrap.servers", args[0])
            .option("topic", args[2])
            .option("checkpointLocation", args[3])
            .outputMode("update")
            .start();
        Thread hearing = new Thread(() -> hear(query));
        hearing.setDaemon(true);
        hearing.start();
        query.awaitTermination();
        System.exit(0);
    }

    static void hear(StreamingQuery query) {
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        lines.lines().forEach(line -> {
            synchronized (LOCK) {
                holds = line.equals("hold");
                waits = false;
                LOCK.notifyAll();
            }
        });
        try {
            query.stop();
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    static String pass(String key, String value) throws InterruptedException {
        synchronized (LOCK) {
            if (!holds || !key.equals("key 0")) return value;
            holds = false;
            waits = true;
            OUT.println("held");
            while (waits) LOCK.wait();
        }
        return value;
    }
}
