//! A topic into Hadoop's layout: Parquet files in HDFS below year=/month=/day=/hour=, read back by a MapReduce job with
//! Parquet's own input format, and compared with the topic row by row.

use std::fs;
use std::path::{Path, PathBuf};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, TopicPartitionList};
use serde_json::{Value, json};

use super::workers::{LONG, Workers};
use crate::frameworks::program;
use crate::support::asked::Asked;
use crate::support::clients::{self, installed};
use crate::support::cluster::{Cluster, SOON, fresh_dir};
use crate::support::{kafka, process};

const TOPIC: &str = "events";
const PARTITIONS: usize = 2;
const RECORDS: usize = 4000;
const CHUNK: usize = 250;
/// Noon of 29 February 2024. A record is of 20 seconds after the one before, so the last is of the next morning.
const NOON: i64 = 1_709_208_000_000;
const STEP: i64 = 20_000;

/// The folder of record `n`'s hour.
fn folder(n: usize) -> String {
    match 12 + n * 20 / 3600 {
        hour @ ..24 => format!("year=2024/month=02/day=29/hour={hour:02}"),
        hour => format!("year=2024/month=03/day=01/hour={:02}", hour - 24),
    }
}

/// Record `n`, which is in partition `n % 2`.
fn payload(n: usize) -> Value {
    let name = (!n.is_multiple_of(7)).then(|| format!("Käthe \"{n}\""));
    json!({ "id": n, "name": name, "amount": n as f64 / 8.0, "paid": n.is_multiple_of(3) })
}

/// The row that it is read back as.
fn row(n: usize) -> Value {
    let mut row = payload(n);
    row["kafka_partition"] = json!(n % PARTITIONS);
    row["kafka_offset"] = json!(n / PARTITIONS);
    row["kafka_timestamp"] = json!(NOON + STEP * n as i64);
    row["kafka_key"] = json!(n.to_string());
    row
}

fn write(cluster: &Cluster, numbers: std::ops::Range<usize>) {
    let field =
        |name: &str, of: &str| json!({ "field": name, "type": of, "optional": name == "name" });
    let fields = [("id", "int64"), ("name", "string"), ("amount", "double"), ("paid", "boolean")];
    let fields: Vec<Value> = fields.iter().map(|(name, of)| field(name, of)).collect();
    let schema = json!({ "type": "struct", "optional": false, "name": "event", "fields": fields });
    let producer: BaseProducer = clients::producer(&cluster.bootstrap()).create().unwrap();
    for n in numbers {
        let (key, time) = (n.to_string(), NOON + STEP * n as i64);
        let value = json!({ "schema": schema, "payload": payload(n) }).to_string();
        let record = BaseRecord::to(TOPIC).partition((n % PARTITIONS) as i32).timestamp(time);
        producer.send(record.key(&key).payload(&value)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(SOON).unwrap();
}

/// Waits until the sink has committed these first records, or more.
fn written(workers: &Workers, cluster: &Cluster, records: usize) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap()).set("group.id", "connect-parquet");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_range(TOPIC, 0, PARTITIONS as i32 - 1);
    workers.wait(&format!("{records} records are committed"), |_| {
        let committed = consumer.committed_offsets(partitions.clone(), SOON).ok()?;
        let offsets = committed.elements();
        let offset = |it: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            it.offset().to_raw().unwrap_or_default().max(0) as usize
        };
        (offsets.iter().map(offset).sum::<usize>() >= records).then_some(())
    });
}

/// The sink, compiled into a folder of plugins.
fn plugins() -> PathBuf {
    let plugins = fresh_dir("connect-plugins");
    let sink = plugins.join("hadoop-sink");
    let services = sink.join("META-INF/services");
    fs::create_dir_all(&services).unwrap();
    fs::write(services.join("org.apache.kafka.connect.sink.SinkConnector"), "HadoopSink\n")
        .unwrap();
    let mut javac = process::command("javac");
    javac.args(["-nowarn", "-proc:none", "-cp"]);
    javac.arg(installed("frameworks/connect").join("lib").join("*")).arg("-d").arg(&sink);
    let source = "tests/frameworks/connect/HadoopSink.java";
    javac.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(source));
    process::run(javac, LONG).ok("javac");
    plugins
}

/// All rows below a folder of HDFS, each with its hour's folder, in the order of the records.
fn read(root: &str) -> Vec<(String, Value)> {
    let dir = fresh_dir("connect-read");
    let (work, output) = (dir.join("work"), dir.join("output"));
    let mut job = program("connect", "ReadParquet", &["-Xmx512m"]);
    job.arg(root).arg(&work).arg(format!("file://{}", output.display()));
    process::run(job, LONG).ok("the MapReduce job");
    let text = fs::read_to_string(output.join("part-r-00000")).unwrap();
    let parse = |line: &str| {
        let (folder, row) = line.split_once('\t').unwrap();
        (folder.to_owned(), serde_json::from_str(row).unwrap())
    };
    let mut rows: Vec<(String, Value)> = text.lines().map(parse).collect();
    rows.sort_by_key(|(_, row)| row["id"].as_u64());
    rows
}

fn judge(root: &str) {
    let rows = read(root);
    for (n, (is, should)) in rows.iter().zip((0..RECORDS).map(|n| (folder(n), row(n)))).enumerate()
    {
        assert_eq!(*is, should, "row {n}");
    }
    assert_eq!(rows.len(), RECORDS);
}

#[test]
fn a_topic_becomes_parquet_files_by_the_hour_though_a_worker_and_a_broker_die() {
    let cluster = Cluster::start("connect-hadoop", 3);
    cluster.create_topic(TOPIC, PARTITIONS as u32, 3);
    let mut command = program("connect", "Hdfs", &["-Xmx384m"]);
    command.arg(fresh_dir("hdfs"));
    let mut hdfs = Asked::start("HDFS", command);
    let root = format!("{}/warehouse/{TOPIC}", hdfs.hear());
    let mut workers = Workers::start("connect", &cluster, Some(&plugins()));
    // Four chunks, and what is in the sinks' memory when a worker dies.
    write(&cluster, 0..4 * CHUNK + 300);
    workers.connector(
        "parquet",
        &json!({
            "connector.class": "HadoopSink", "tasks.max": PARTITIONS.to_string(), "topics": TOPIC,
            "hadoop.root": root, "chunk.records": CHUNK.to_string(),
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter.schemas.enable": "true" }),
    );
    written(&workers, &cluster, 4 * CHUNK);
    let mut at = workers.running("parquet", PARTITIONS);
    at.sort_unstable();
    assert_eq!(at, [0, 1], "a task on each worker");
    workers.kill9(0);
    assert_eq!(workers.running("parquet", PARTITIONS), [1, 1]);
    write(&cluster, 4 * CHUNK + 300..8 * CHUNK + 300);
    written(&workers, &cluster, 8 * CHUNK);

    let (error, coordinator) = kafka::coordinator(cluster.broker(1), "connect-parquet");
    assert_eq!(error, kafka::NONE);
    let broker = cluster.broker(coordinator as u64);
    broker.kill9();
    write(&cluster, 8 * CHUNK + 300..12 * CHUNK + 300);
    written(&workers, &cluster, 12 * CHUNK);
    broker.start();
    cluster.wait_whole();

    workers.run(0);
    cluster.wait_for("a task runs on each worker again", LONG, || {
        let mut at = workers.running("parquet", PARTITIONS);
        at.sort_unstable();
        (at == [0, 1]).then_some(())
    });
    write(&cluster, 12 * CHUNK + 300..RECORDS);
    written(&workers, &cluster, RECORDS);
    judge(&root);
    hdfs.stop();
}
