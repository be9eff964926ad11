package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"behaviours/bridge"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// transactions is a transactional producer; failure is the first record's that failed since the last begin.
type transactions struct {
	id      string
	client  *kgo.Client
	lock    sync.Mutex
	failure error
}

// NewTransactions makes a producer and has it initialized: franz-go would do that with the first record.
func (f *franz) NewTransactions(transactionalID string) (bridge.Transactions, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(f.bootstrap), kgo.TransactionalID(transactionalID))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, _, err := client.ProducerID(ctx); err != nil {
		return nil, err
	}
	return &transactions{id: transactionalID, client: client}, nil
}

func (t *transactions) Call(name string, request *bridge.Request, of bridge.Consumer) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	switch name {
	case "begin":
		t.failure = nil
		return nil, t.client.BeginTransaction()
	case "send":
		for _, value := range request.Values {
			t.client.Produce(context.Background(), &kgo.Record{Topic: request.Topic, Value: value}, t.reported)
		}
		return nil, nil
	case "flush":
		return nil, t.flush(ctx)
	case "send_offset":
		return nil, t.sendOffset(ctx, request, of.(*consumer))
	case "commit":
		if err := t.flush(ctx); err != nil {
			return nil, err
		}
		return nil, t.client.EndTransaction(ctx, kgo.TryCommit)
	case "abort":
		if err := t.client.AbortBufferedRecords(ctx); err != nil {
			return nil, err
		}
		return nil, t.client.EndTransaction(ctx, kgo.TryAbort)
	case "close":
		t.client.Close()
		return nil, nil
	}
	return nil, fmt.Errorf("no call %s", name)
}

func (t *transactions) reported(_ *kgo.Record, err error) {
	t.lock.Lock()
	defer t.lock.Unlock()
	if t.failure == nil {
		t.failure = err
	}
}

func (t *transactions) flush(ctx context.Context) error {
	if err := t.client.Flush(ctx); err != nil {
		return err
	}
	t.lock.Lock()
	defer t.lock.Unlock()
	return t.failure
}

// sendOffset asks for what a GroupTransactSession asks for at its end: that one is a consumer and a producer in one.
func (t *transactions) sendOffset(ctx context.Context, request *bridge.Request, of *consumer) error {
	id, epoch, err := t.client.ProducerID(ctx)
	if err != nil {
		return err
	}
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = t.id, id, epoch, request.Group
	for {
		added, err := add.RequestWith(ctx, t.client)
		if err == nil {
			err = kerr.ErrorForCode(added.ErrorCode)
		}
		if err == nil {
			break
		}
		// The markers of the transaction before aren't all written yet: every client asks again.
		if !errors.Is(err, kerr.ConcurrentTransactions) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	commit := kmsg.NewPtrTxnOffsetCommitRequest()
	commit.TransactionalID, commit.ProducerID, commit.ProducerEpoch, commit.Group = t.id, id, epoch, request.Group
	commit.MemberID, commit.Generation = of.client.GroupMetadata()
	partition := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	partition.Partition, partition.Offset = request.Partition.Index, request.Offset
	topic := kmsg.NewTxnOffsetCommitRequestTopic()
	topic.Topic = request.Partition.Topic
	topic.Partitions = append(topic.Partitions, partition)
	commit.Topics = append(commit.Topics, topic)
	committed, err := commit.RequestWith(ctx, t.client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(committed.Topics[0].Partitions[0].ErrorCode)
}
