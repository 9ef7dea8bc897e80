package main

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"quorate/clients/lines"
)

func transact(brokers kgo.Opt, id string) {
	ctx := context.Background()
	client := client(brokers, kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(5*time.Millisecond))
	defer client.Close()
	_, _, err := client.ProducerID(ctx)
	lines.Check(err)
	var failed error
	flush := func() error {
		if err := client.Flush(ctx); err != nil {
			return err
		}
		return failed
	}
	end := func(how kgo.TransactionEndTry) func([]string) error {
		return func([]string) error {
			if err := flush(); err != nil && how == kgo.TryCommit {
				return err
			}
			return client.EndTransaction(ctx, how)
		}
	}
	send := func(field []string) error {
		given := lines.Parse(field[1:])
		record := &kgo.Record{Topic: field[0], Key: given.Key, Value: given.Value, Timestamp: time.UnixMilli(given.Timestamp)}
		for _, header := range given.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: header.Key, Value: header.Value})
		}
		client.Produce(ctx, record, func(_ *kgo.Record, err error) {
			if err != nil {
				failed = err
			}
		})
		return nil
	}
	lines.Transact(map[string]func([]string) error{
		"begin": func([]string) error { return client.BeginTransaction() },
		"send":  send,
		"flush": func([]string) error { return flush() },
		"offset": func([]string) error {
			lines.Lacks("offsets of who does not read in the group")
			return nil
		},
		"commit": end(kgo.TryCommit),
		"abort":  end(kgo.TryAbort),
	}, func(err error) bool {
		return errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch)
	})
}

// A session aborts and goes back to where the group is by itself. Its errors are final, as its documentation says: what
// comes then is a new one, whose epoch ends the transaction before.
func session(options ...kgo.Opt) *kgo.GroupTransactSession {
	for {
		session, err := kgo.NewGroupTransactSession(options...)
		lines.Check(err)
		_, _, err = session.Client().ProducerID(context.Background())
		if err == nil {
			return session
		}
		lines.Line("again %v", err)
		session.Close()
	}
}

func process(brokers kgo.Opt, source, target, group, id string) {
	options := []kgo.Opt{
		brokers, kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(source), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100 * time.Millisecond), kgo.RequireStableFetchOffsets(),
	}
	ctx, stop := context.WithCancel(context.Background())
	told, done, it := lines.Tell(), 0, session(options...)
	go func() { <-told.Stop; stop() }()
	for ctx.Err() == nil {
		records := it.PollRecords(ctx, 40).Records()
		if len(records) == 0 {
			continue
		}
		committed, err := once(it, told, target, records)
		if committed {
			done += len(records)
			lines.Line("committed %d", done)
			continue
		}
		lines.Line("aborted %v", err)
		if err != nil {
			it.Close()
			it = session(options...)
		}
	}
	it.Close()
}

func once(session *kgo.GroupTransactSession, told lines.Told, target string, records []*kgo.Record) (bool, error) {
	if err := session.Begin(); err != nil {
		return false, err
	}
	failed := kgo.AbortingFirstErrPromise(session.Client())
	for _, it := range records {
		copied := &kgo.Record{Topic: target, Partition: it.Partition, Timestamp: it.Timestamp, Key: it.Key, Value: it.Value}
		session.Produce(context.Background(), copied, failed.Promise())
	}
	went := failed.Err() == nil
	goes := told.ToGoOn(len(records))
	return session.End(context.Background(), kgo.TransactionEndTry(went && goes))
}
