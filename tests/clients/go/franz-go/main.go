// franz-go behind the commands of the matrix (tests/clients/README.md).
package main

import (
	"bufio"
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"quorate/clients/lines"
)

func main() {
	brokers := kgo.SeedBrokers(strings.Split(os.Args[2], ",")...)
	if os.Args[1] == "append" {
		appendLines(brokers, lines.Settings(os.Args[3:]))
		return
	}
	topic := os.Args[3]
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	switch os.Args[1] {
	case "produce":
		produce(ctx, brokers, topic, os.Args[4])
	case "fetch":
		count, err := strconv.Atoi(os.Args[4])
		lines.Check(err)
		isolation := kgo.ReadUncommitted()
		if lines.Settings(os.Args[5:])["isolation.level"] == "read_committed" {
			isolation = kgo.ReadCommitted()
		}
		fetch(ctx, brokers, topic, kgo.NewOffset().AtStart(), count, kgo.FetchIsolationLevel(isolation))
	case "at":
		millis, err := strconv.ParseInt(os.Args[4], 10, 64)
		lines.Check(err)
		fetch(ctx, brokers, topic, kgo.NewOffset().AfterMilli(millis), 1)
	case "consume":
		consume(brokers, topic, os.Args[4], lines.Settings(os.Args[5:]))
	case "admin":
		admin(ctx, brokers, topic, os.Args[4])
	case "transact":
		transact(brokers, os.Args[3])
	case "process":
		process(brokers, topic, os.Args[4], os.Args[5], os.Args[6])
	default:
		lines.Lacks("command " + os.Args[1])
	}
}

func client(options ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(options...)
	lines.Check(err)
	return client
}

func produce(ctx context.Context, brokers kgo.Opt, topic, codec string) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	// Idempotent by default.
	client := client(brokers, kgo.ProducerBatchCompression(codecs[codec]), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.AllowAutoTopicCreation())
	defer client.Close()
	for _, given := range lines.Given() {
		record := &kgo.Record{Topic: topic, Key: given.Key, Value: given.Value, Timestamp: time.UnixMilli(given.Timestamp)}
		for _, header := range given.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: header.Key, Value: header.Value})
		}
		client.Produce(ctx, record, func(_ *kgo.Record, err error) { lines.Check(err) })
	}
	lines.Check(client.Flush(ctx))
}

// The lines of tests/clients/python/append.py.
func appendLines(brokers kgo.Opt, settings map[string]string) {
	options := []kgo.Opt{brokers, kgo.RecordPartitioner(partitioner{kgo.StickyKeyPartitioner(nil)})}
	if millis, found := settings["linger.ms"]; found {
		linger, err := strconv.Atoi(millis)
		lines.Check(err)
		options = append(options, kgo.ProducerLinger(time.Duration(linger)*time.Millisecond))
	}
	if settings["batch.records"] == "1" {
		options = append(options, kgo.MaxBufferedRecords(1))
	}
	client := client(options...)
	defer client.Close()
	input := bufio.NewScanner(os.Stdin)
	for number := 0; input.Scan(); {
		if input.Text() == "flush" {
			lines.Check(client.Flush(context.Background()))
			lines.Line("flushed")
			continue
		}
		field := strings.Split(input.Text(), "\t")
		record := &kgo.Record{Topic: field[0], Partition: -1, Key: []byte(field[2])}
		if field[1] != "-" {
			partition, err := strconv.Atoi(field[1])
			lines.Check(err)
			record.Partition = int32(partition)
		}
		if field[3] != "-" {
			record.Value = []byte(field[3])
		}
		for _, header := range field[4:] {
			name, value, _ := strings.Cut(header, "=")
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
		}
		mine := number
		client.Produce(context.Background(), record, func(done *kgo.Record, err error) {
			if kafka := (*kerr.Error)(nil); errors.As(err, &kafka) {
				lines.Line("%d\terror\t%d\t%v", mine, kafka.Code, err)
			} else if err != nil {
				lines.Line("%d\terror\t-1\t%v", mine, err)
			} else {
				lines.Line("%d\tok\t%d\t%d", mine, done.Partition, done.Offset)
			}
		})
		number++
	}
	lines.Check(input.Err())
}

// By key as Java does, unless the record names its partition.
type partitioner struct{ kgo.Partitioner }

type topicPartitioner struct{ kgo.TopicPartitioner }

func (it partitioner) ForTopic(topic string) kgo.TopicPartitioner {
	return topicPartitioner{it.Partitioner.ForTopic(topic)}
}

func (it topicPartitioner) Partition(record *kgo.Record, count int) int {
	if record.Partition >= 0 {
		return int(record.Partition)
	}
	return it.TopicPartitioner.Partition(record, count)
}

func fetch(ctx context.Context, brokers kgo.Opt, topic string, offset kgo.Offset, count int, more ...kgo.Opt) {
	partition := map[string]map[int32]kgo.Offset{topic: {0: offset}}
	options := []kgo.Opt{brokers, kgo.ConsumePartitions(partition), kgo.FetchMaxWait(100 * time.Millisecond)}
	client := client(append(options, more...)...)
	defer client.Close()
	for count > 0 {
		fetches := client.PollRecords(ctx, count)
		lines.Check(fetches.Err())
		for _, it := range fetches.Records() {
			record := lines.Record{Offset: it.Offset, Timestamp: it.Timestamp.UnixMilli(), Key: it.Key, Value: it.Value}
			for _, header := range it.Headers {
				record.Headers = append(record.Headers, lines.Header{Key: header.Key, Value: header.Value})
			}
			lines.Show(record)
			count--
		}
	}
}

func consume(brokers kgo.Opt, topic, group string, settings map[string]string) {
	told := func(word string) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			lines.Say(word, partitions[topic])
		}
	}
	session, err := strconv.Atoi(settings["session.timeout.ms"])
	lines.Check(err)
	options := []kgo.Opt{
		brokers, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.OnPartitionsAssigned(told("assigned")), kgo.OnPartitionsRevoked(told("revoked")), kgo.OnPartitionsLost(told("lost")),
		kgo.SessionTimeout(time.Duration(session) * time.Millisecond), kgo.HeartbeatInterval(300 * time.Millisecond),
	}
	if instance, found := settings["group.instance.id"]; found {
		options = append(options, kgo.InstanceID(instance))
	}
	ctx, stop := context.WithCancel(context.Background())
	if settings["group.protocol"] == "consumer" {
		options = append(options, kgo.ServerSideBalancer(), kgo.Balancers(kgo.RangeBalancer()))
	}
	client := client(options...)
	end := lines.ToldToStop()
	go func() { <-end; stop() }()
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		fetches.EachError(func(_ string, _ int32, err error) {
			if !errors.Is(err, context.Canceled) {
				lines.Line("error %v", err)
			}
		})
		fetches.EachRecord(func(it *kgo.Record) { lines.Line("record %d %d %s", it.Partition, it.Offset, it.Value) })
		if records := fetches.Records(); len(records) > 0 {
			if err := client.CommitRecords(context.Background(), records...); err != nil {
				lines.Line("error %v", err)
			}
		}
		client.AllowRebalance()
	}
	client.CloseAllowingRebalance()
}

// Kafka's number of the error, 0 for none.
func code(errs ...error) int16 {
	for _, err := range errs {
		if kafka := (*kerr.Error)(nil); errors.As(err, &kafka) {
			return kafka.Code
		}
		lines.Check(err)
	}
	return 0
}

func retention(ctx context.Context, admin *kadm.Client, topic string) string {
	configs, err := admin.DescribeTopicConfigs(ctx, topic)
	lines.Check(err)
	for _, config := range configs[0].Configs {
		if config.Key == "retention.ms" {
			return *config.Value
		}
	}
	return ""
}

func admin(ctx context.Context, brokers kgo.Opt, topic, group string) {
	admin := kadm.NewClient(client(brokers))
	defer admin.Close()
	value := "5000"
	for _, step := range []string{"create", "create again"} {
		_, err := admin.CreateTopic(ctx, 2, 3, map[string]*string{"retention.ms": &value}, topic)
		lines.Line("%s %d", step, code(err))
	}
	partitions := func() int {
		topics, err := admin.ListTopics(ctx)
		lines.Check(err)
		return len(topics[topic].Partitions)
	}
	// Any broker may answer, and one that has not heard of the change yet answers as before it.
	for partitions() == 0 {
	}
	lines.Line("listed true")
	grown, err := admin.UpdatePartitions(ctx, 3, topic)
	lines.Line("grow %d", code(err, grown[topic].Err))
	for partitions() != 3 {
	}
	lines.Line("partitions 3")
	lines.Line("config %s", retention(ctx, admin, topic))
	value = "7000"
	altered, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &value}}, topic)
	lines.Line("alter %d", code(err, altered[0].Err))
	for retention(ctx, admin, topic) != value {
	}
	lines.Line("altered %s", value)
	for _, step := range []string{"delete", "delete again"} {
		_, err := admin.DeleteTopic(ctx, topic)
		lines.Line("%s %d", step, code(err))
	}
	groups, err := admin.ListGroups(ctx)
	lines.Check(err)
	_, found := groups[group]
	lines.Line("groups %t", found)
	described, err := admin.DescribeGroups(ctx, group)
	lines.Check(err)
	lines.Line("group %s", described[group].State)
	offsets, err := admin.FetchOffsets(ctx, group)
	lines.Check(err)
	offset, _ := offsets.Lookup(group, 0)
	lines.Line("offset %d", offset.At)
	for _, step := range []string{"delete group", "delete group again"} {
		_, err := admin.DeleteGroup(ctx, group)
		lines.Line("%s %d", step, code(err))
	}
}
