// sarama behind the commands of the matrix (tests/clients/README.md).
package main

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"quorate/clients/lines"
)

var brokers = strings.Split(os.Args[2], ",")

func main() {
	topic := os.Args[3]
	config := sarama.NewConfig()
	config.Version = sarama.V4_2_0_0
	config.Consumer.MaxWaitTime = 100 * time.Millisecond
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	switch os.Args[1] {
	case "produce":
		produce(config, topic, os.Args[4])
	case "fetch":
		count, err := strconv.Atoi(os.Args[4])
		lines.Check(err)
		if lines.Settings(os.Args[5:])["isolation.level"] == "read_committed" {
			config.Consumer.IsolationLevel = sarama.ReadCommitted
		}
		fetch(config, topic, sarama.OffsetOldest, count)
	case "at":
		millis, err := strconv.ParseInt(os.Args[4], 10, 64)
		lines.Check(err)
		client, err := sarama.NewClient(brokers, config)
		lines.Check(err)
		offset, err := client.GetOffset(topic, 0, millis)
		lines.Check(err)
		fetch(config, topic, offset, 1)
	case "consume":
		consume(config, topic, os.Args[4], lines.Settings(os.Args[5:]))
	case "admin":
		admin(config, topic, os.Args[4])
	case "transact":
		transact(config, os.Args[3], os.Args[4])
	case "process":
		process(config, topic, os.Args[4], os.Args[5], os.Args[6])
	default:
		lines.Lacks("command " + os.Args[1])
	}
}

func produce(config *sarama.Config, topic, codec string) {
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = sarama.NewManualPartitioner
	lines.Check(config.Producer.Compression.UnmarshalText([]byte(codec)))
	producer, err := sarama.NewSyncProducer(brokers, config)
	lines.Check(err)
	var messages []*sarama.ProducerMessage
	for _, given := range lines.Given() {
		messages = append(messages, message(topic, given))
	}
	lines.Check(producer.SendMessages(messages))
	lines.Check(producer.Close())
}

func fetch(config *sarama.Config, topic string, offset int64, count int) {
	consumer, err := sarama.NewConsumer(brokers, config)
	lines.Check(err)
	partition, err := consumer.ConsumePartition(topic, 0, offset)
	lines.Check(err)
	deadline := time.After(time.Minute)
	for range count {
		select {
		case it := <-partition.Messages():
			record := lines.Record{Offset: it.Offset, Timestamp: it.Timestamp.UnixMilli(), Key: it.Key, Value: it.Value}
			for _, header := range it.Headers {
				record.Headers = append(record.Headers, lines.Header{Key: string(header.Key), Value: header.Value})
			}
			lines.Show(record)
		case <-deadline:
			lines.Check(errors.New("records did not come"))
		}
	}
}

// What a member is told; each partition has a goroutine of its own.
type member struct{ topic string }

func (it member) Setup(session sarama.ConsumerGroupSession) error {
	lines.Say("assigned", session.Claims()[it.topic])
	return nil
}

func (it member) Cleanup(session sarama.ConsumerGroupSession) error {
	lines.Say("revoked", session.Claims()[it.topic])
	return nil
}

func (it member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, more := <-claim.Messages():
			if !more {
				return nil
			}
			lines.Line("record %d %d %s", message.Partition, message.Offset, message.Value)
			session.MarkMessage(message, "")
			if len(claim.Messages()) == 0 {
				session.Commit()
			}
		case <-session.Context().Done():
			return nil
		}
	}
}

func consume(config *sarama.Config, topic, group string, settings map[string]string) {
	if settings["group.protocol"] == "consumer" {
		lines.Lacks("consumer protocol")
	}
	session, err := strconv.Atoi(settings["session.timeout.ms"])
	lines.Check(err)
	config.Consumer.Group.Session.Timeout = time.Duration(session) * time.Millisecond
	config.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	config.Consumer.Group.InstanceId = settings["group.instance.id"]
	config.Consumer.Offsets.AutoCommit.Enable = false
	consumer, err := sarama.NewConsumerGroup(brokers, group, config)
	lines.Check(err)
	ctx, stop := context.WithCancel(context.Background())
	end := lines.ToldToStop()
	go func() { <-end; stop() }()
	for ctx.Err() == nil {
		if err := consumer.Consume(ctx, []string{topic}, member{topic}); err != nil && ctx.Err() == nil {
			lines.Line("error %v", err)
		}
	}
	lines.Check(consumer.Close())
}

// Kafka's number of the error, 0 for none.
func code(err error) int {
	if kafka := sarama.ErrNoError; errors.As(err, &kafka) {
		return int(kafka)
	}
	lines.Check(err)
	return 0
}

func retention(admin sarama.ClusterAdmin, topic string) string {
	wanted := sarama.ConfigResource{Type: sarama.TopicResource, Name: topic, ConfigNames: []string{"retention.ms"}}
	entries, err := admin.DescribeConfig(wanted)
	lines.Check(err)
	return entries[0].Value
}

func admin(config *sarama.Config, topic, group string) {
	admin, err := sarama.NewClusterAdmin(brokers, config)
	lines.Check(err)
	value := "5000"
	for _, step := range []string{"create", "create again"} {
		detail := &sarama.TopicDetail{NumPartitions: 2, ReplicationFactor: 3, ConfigEntries: map[string]*string{"retention.ms": &value}}
		lines.Line("%s %d", step, code(admin.CreateTopic(topic, detail, false)))
	}
	listed := func() bool {
		topics, err := admin.ListTopics()
		lines.Check(err)
		_, found := topics[topic]
		return found
	}
	partitions := func() int {
		described, err := admin.DescribeTopics([]string{topic})
		lines.Check(err)
		return len(described[0].Partitions)
	}
	// Any broker may answer, and one that has not heard of the change yet answers as before it.
	for !listed() {
	}
	lines.Line("listed true")
	lines.Line("grow %d", code(admin.CreatePartitions(topic, 3, nil, false)))
	for partitions() != 3 {
	}
	lines.Line("partitions 3")
	lines.Line("config %s", retention(admin, topic))
	value = "7000"
	change := map[string]sarama.IncrementalAlterConfigsEntry{"retention.ms": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value}}
	lines.Line("alter %d", code(admin.IncrementalAlterConfig(sarama.TopicResource, topic, change, false)))
	for retention(admin, topic) != value {
	}
	lines.Line("altered %s", value)
	for _, step := range []string{"delete", "delete again"} {
		lines.Line("%s %d", step, code(admin.DeleteTopic(topic)))
	}
	groups, err := admin.ListConsumerGroups()
	lines.Check(err)
	_, found := groups[group]
	lines.Line("groups %t", found)
	states, err := admin.DescribeConsumerGroups([]string{group})
	lines.Check(err)
	lines.Line("group %s", states[0].State)
	offsets, err := admin.ListConsumerGroupOffsets(group, map[string][]int32{group: {0}})
	lines.Check(err)
	lines.Line("offset %d", offsets.GetBlock(group, 0).Offset)
	for _, step := range []string{"delete group", "delete group again"} {
		lines.Line("%s %d", step, code(admin.DeleteConsumerGroup(group)))
	}
}
