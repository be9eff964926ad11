package main

import (
	"fmt"
	"sync"

	"behaviours/bridge"

	"github.com/IBM/sarama"
)

// transactions is a transactional producer; failure is the first record's that failed since the last begin.
type transactions struct {
	producer sarama.AsyncProducer
	open     sync.WaitGroup
	lock     sync.Mutex
	failure  error
}

func (c *client) NewTransactions(transactionalID string) (bridge.Transactions, error) {
	config := settings()
	config.Net.MaxOpenRequests = 1
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Producer.Transaction.ID = transactionalID
	producer, err := sarama.NewAsyncProducer([]string{c.bootstrap}, config)
	if err != nil {
		return nil, err
	}
	t := &transactions{producer: producer}
	go func() {
		for range producer.Successes() {
			t.open.Done()
		}
	}()
	go func() {
		for failed := range producer.Errors() {
			t.failed(failed.Err)
			t.open.Done()
		}
	}()
	return t, nil
}

func (t *transactions) failed(err error) {
	t.lock.Lock()
	defer t.lock.Unlock()
	if t.failure == nil {
		t.failure = err
	}
}

func (t *transactions) flush() error {
	t.open.Wait()
	t.lock.Lock()
	defer t.lock.Unlock()
	return t.failure
}

func (t *transactions) Call(name string, request *bridge.Request, of bridge.Consumer) (any, error) {
	switch name {
	case "begin":
		t.failure = nil
		return nil, t.producer.BeginTxn()
	case "send":
		for _, value := range request.Values {
			t.open.Add(1)
			t.producer.Input() <- &sarama.ProducerMessage{Topic: request.Topic, Value: encoder(value)}
		}
		return nil, nil
	case "flush":
		return nil, t.flush()
	case "send_offset":
		return nil, t.sendOffset(request, of.(*consumer))
	case "commit":
		if err := t.flush(); err != nil {
			return nil, err
		}
		return nil, t.producer.CommitTxn()
	case "abort":
		return nil, t.producer.AbortTxn()
	case "close":
		return nil, t.producer.Close()
	}
	return nil, fmt.Errorf("no call %s", name)
}

func (t *transactions) sendOffset(request *bridge.Request, of *consumer) error {
	of.lock.Lock()
	group := sarama.NewConsumerGroupMetadataFromSession(of.session, request.Group, nil)
	of.lock.Unlock()
	offsets := map[string][]*sarama.PartitionOffsetMetadata{
		request.Partition.Topic: {{Partition: request.Partition.Index, Offset: request.Offset}},
	}
	return t.producer.AddOffsetsToTxnWithGroupMetadata(offsets, group)
}
