package main

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"quorate/clients/lines"
)

func transactional(config *sarama.Config, id string) sarama.SyncProducer {
	mine := *config
	mine.Producer.Transaction.ID = id
	mine.Producer.Idempotent = true
	mine.Net.MaxOpenRequests = 1
	mine.Producer.RequiredAcks = sarama.WaitForAll
	mine.Producer.Return.Successes = true
	mine.Producer.Partitioner = sarama.NewManualPartitioner
	// Half a minute in all, for a coordinator to be found again.
	mine.Producer.Retry.Max = 60
	mine.Producer.Retry.Backoff = 500 * time.Millisecond
	mine.Producer.Transaction.Retry.Max = 60
	mine.Producer.Transaction.Retry.Backoff = 500 * time.Millisecond
	producer, err := sarama.NewSyncProducer(brokers, &mine)
	lines.Check(err)
	return producer
}

func message(topic string, given lines.Record) *sarama.ProducerMessage {
	message := &sarama.ProducerMessage{Topic: topic, Timestamp: time.UnixMilli(given.Timestamp)}
	if given.Key != nil {
		message.Key = sarama.ByteEncoder(given.Key)
	}
	if given.Value != nil {
		message.Value = sarama.ByteEncoder(given.Value)
	}
	for _, header := range given.Headers {
		message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(header.Key), Value: header.Value})
	}
	return message
}

func place(partition int32, offset int64) []*sarama.PartitionOffsetMetadata {
	return []*sarama.PartitionOffsetMetadata{{Partition: partition, Offset: offset}}
}

func transact(config *sarama.Config, id, group string) {
	producer := transactional(config, id)
	var unsent []*sarama.ProducerMessage
	flush := func() error {
		sent := unsent
		unsent = nil
		return producer.SendMessages(sent)
	}
	lines.Transact(map[string]func([]string) error{
		"begin": func([]string) error { return producer.BeginTxn() },
		"send": func(field []string) error {
			unsent = append(unsent, message(field[0], lines.Parse(field[1:])))
			return nil
		},
		"flush": func([]string) error { return flush() },
		"offset": func(field []string) error {
			number, err := strconv.ParseInt(field[1], 10, 64)
			lines.Check(err)
			return producer.AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata{field[0]: place(0, number)}, group)
		},
		"commit": func([]string) error {
			if err := flush(); err != nil {
				return err
			}
			return producer.CommitTxn()
		},
		"abort": func([]string) error { return producer.AbortTxn() },
	}, func(err error) bool {
		return errors.Is(err, sarama.ErrProducerFenced) || errors.Is(err, sarama.ErrInvalidProducerEpoch)
	})
}

// One producer for all partitions, each of which has a goroutine of its own: one transaction at a time.
type worker struct {
	config                    *sarama.Config
	told                      lines.Told
	source, target, group, id string
	turn                      sync.Mutex
	producer                  sarama.SyncProducer
	done                      int
}

func (it *worker) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (it *worker) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (it *worker) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		var records []*sarama.ConsumerMessage
		select {
		case message, more := <-claim.Messages():
			if !more {
				return nil
			}
			records = append(records, message)
		case <-session.Context().Done():
			return nil
		}
		for len(records) < 40 && len(claim.Messages()) > 0 {
			message, more := <-claim.Messages()
			if !more {
				break
			}
			records = append(records, message)
		}
		if err := it.turned(session, records); err != nil {
			// The session ends, and the next begins where the group is.
			return err
		}
	}
}

func (it *worker) turned(session sarama.ConsumerGroupSession, records []*sarama.ConsumerMessage) error {
	it.turn.Lock()
	defer it.turn.Unlock()
	if session.Context().Err() != nil {
		return session.Context().Err()
	}
	err := it.once(session, records)
	if err != nil {
		lines.Line("aborted %v", err)
		it.abort()
	}
	return err
}

// As its documentation says: after a fatal error with a new producer, and else by aborting until that succeeds.
func (it *worker) abort() {
	for it.producer.TxnStatus()&sarama.ProducerTxnFlagReady == 0 {
		if it.producer.TxnStatus()&sarama.ProducerTxnFlagFatalError != 0 {
			_ = it.producer.Close()
			it.producer = transactional(it.config, it.id)
		} else if err := it.producer.AbortTxn(); err != nil {
			lines.Line("again %v", err)
			time.Sleep(100 * time.Millisecond)
		}
	}
}

func (it *worker) once(session sarama.ConsumerGroupSession, records []*sarama.ConsumerMessage) error {
	if err := it.producer.BeginTxn(); err != nil {
		return err
	}
	var messages []*sarama.ProducerMessage
	for _, read := range records {
		copied := message(it.target, lines.Record{Key: read.Key, Value: read.Value})
		copied.Partition, copied.Timestamp = read.Partition, read.Timestamp
		messages = append(messages, copied)
	}
	if err := it.producer.SendMessages(messages); err != nil {
		return err
	}
	if !it.told.ToGoOn(len(records)) {
		return context.Canceled
	}
	last := records[len(records)-1]
	offsets := map[string][]*sarama.PartitionOffsetMetadata{it.source: place(last.Partition, last.Offset+1)}
	metadata := sarama.NewConsumerGroupMetadataFromSession(session, it.group, nil)
	if err := it.producer.AddOffsetsToTxnWithGroupMetadata(offsets, metadata); err != nil {
		return err
	}
	if err := it.producer.CommitTxn(); err != nil {
		return err
	}
	it.done += len(records)
	lines.Line("committed %d", it.done)
	return nil
}

func process(config *sarama.Config, source, target, group, id string) {
	config.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.IsolationLevel = sarama.ReadCommitted
	consumer, err := sarama.NewConsumerGroup(brokers, group, config)
	lines.Check(err)
	worker := &worker{config: config, told: lines.Tell(), source: source, target: target, group: group, id: id}
	worker.producer = transactional(config, id)
	ctx, stop := context.WithCancel(context.Background())
	go func() { <-worker.told.Stop; stop() }()
	for ctx.Err() == nil {
		if err := consumer.Consume(ctx, []string{source}, worker); err != nil && ctx.Err() == nil {
			lines.Line("again %v", err)
			time.Sleep(100 * time.Millisecond)
		}
	}
	lines.Check(consumer.Close())
}
