// sarama does what bridge.py asks for.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"behaviours/bridge"

	"github.com/IBM/sarama"
)

var codecs = map[string]sarama.CompressionCodec{
	"gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4,
	"zstd": sarama.CompressionZSTD,
}

type client struct {
	bootstrap string
	lock      sync.Mutex
	shared    sarama.Client
	admin     sarama.ClusterAdmin
}

func main() { bridge.Serve(&client{bootstrap: os.Args[1]}) }

func settings() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Metadata.RefreshFrequency = 500 * time.Millisecond
	config.Metadata.AllowAutoTopicCreation = false
	return config
}

func (c *client) Version() string { return bridge.ModuleVersion("github.com/IBM/sarama") }

func (c *client) Code(err error) (int16, bool) {
	var refusal sarama.KError
	if errors.As(err, &refusal) && refusal > 0 {
		return int16(refusal), true
	}
	return 0, false
}

func (c *client) code(err error) int16 {
	if err == nil {
		return 0
	}
	if code, ok := c.Code(err); ok {
		return code
	}
	return -1
}

// connected gives the client and the admin client that all share.
func (c *client) connected() (sarama.Client, sarama.ClusterAdmin, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.admin != nil {
		return c.shared, c.admin, nil
	}
	shared, err := sarama.NewClient([]string{c.bootstrap}, settings())
	if err != nil {
		return nil, nil, err
	}
	admin, err := sarama.NewClusterAdminFromClient(shared)
	if err != nil {
		return nil, nil, err
	}
	c.shared, c.admin = shared, admin
	return shared, admin, nil
}

func encoder(data []byte) sarama.Encoder {
	if data == nil {
		return nil
	}
	return sarama.ByteEncoder(data)
}

func (c *client) Produce(request *bridge.Request) (any, error) {
	config := settings()
	config.Metadata.AllowAutoTopicCreation = true
	config.Producer.Return.Successes = true
	config.Producer.Compression = codecs[request.Options.Compression]
	config.Producer.MaxMessageBytes = int(max(request.Options.MaxBytes, 1_048_588))
	config.Producer.Partitioner = sarama.NewHashPartitioner
	switch request.Options.Acks {
	case "0":
		config.Producer.RequiredAcks = sarama.NoResponse
	case "1":
		config.Producer.RequiredAcks = sarama.WaitForLocal
	default:
		config.Producer.RequiredAcks = sarama.WaitForAll
	}
	if request.Options.Idempotent {
		config.Producer.Idempotent = true
		config.Net.MaxOpenRequests = 1
	}
	if len(request.Records) > 0 && request.Records[0].Partition != nil {
		config.Producer.Partitioner = sarama.NewManualPartitioner
	}
	producer, err := sarama.NewSyncProducer([]string{c.bootstrap}, config)
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	messages := make([]*sarama.ProducerMessage, len(request.Records))
	for i, one := range request.Records {
		message := &sarama.ProducerMessage{Topic: request.Topic, Key: encoder(one.Key), Value: encoder(one.Value)}
		for _, header := range one.Headers {
			message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(header.Key), Value: header.Value})
		}
		if one.Timestamp != nil {
			message.Timestamp = time.UnixMilli(*one.Timestamp)
		}
		if one.Partition != nil {
			message.Partition = *one.Partition
		}
		messages[i] = message
	}
	if err := producer.SendMessages(messages); err != nil {
		var failed sarama.ProducerErrors
		if errors.As(err, &failed) {
			return nil, failed[0].Err
		}
		return nil, err
	}
	reports := make([][3]int64, len(messages))
	for i, message := range messages {
		reports[i] = [3]int64{int64(message.Partition), message.Offset, message.Timestamp.UnixMilli()}
	}
	return reports, nil
}

// consumer is a group's member, or reads partitions that it was told: sarama has a type for each.
type consumer struct {
	client   *client
	group    string
	config   *sarama.Config
	options  bridge.Options
	stop     context.CancelFunc
	done     chan struct{}
	messages chan *sarama.ConsumerMessage
	lock     sync.Mutex
	session  sarama.ConsumerGroupSession
	assigned map[bridge.Partition]bool
	revoked  []int32
	readers  map[bridge.Partition]sarama.PartitionConsumer
	alone    sarama.Consumer
}

func (c *client) NewConsumer(group string, options bridge.Options) (bridge.Consumer, error) {
	config := settings()
	config.Metadata.AllowAutoTopicCreation = options.AutoCreate
	config.Consumer.MaxWaitTime = 100 * time.Millisecond
	config.Consumer.Offsets.AutoCommit.Enable = options.AutoCommit
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	if options.Reset == "latest" {
		config.Consumer.Offsets.Initial = sarama.OffsetNewest
	}
	if options.CommittedOnly {
		config.Consumer.IsolationLevel = sarama.ReadCommitted
	}
	config.Consumer.Group.InstanceId = options.InstanceID
	config.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	if options.SessionMs > 0 {
		config.Consumer.Group.Session.Timeout = time.Duration(options.SessionMs) * time.Millisecond
	}
	return &consumer{
		client: c, group: group, config: config, options: options, messages: make(chan *sarama.ConsumerMessage, 4096),
		assigned: map[bridge.Partition]bool{}, readers: map[bridge.Partition]sarama.PartitionConsumer{},
	}, nil
}

// Setup is sarama's word that a generation begins.
func (c *consumer) Setup(session sarama.ConsumerGroupSession) error {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.session = session
	for topic, indexes := range session.Claims() {
		for _, index := range indexes {
			c.assigned[bridge.Partition{Topic: topic, Index: index}] = true
		}
	}
	return nil
}

// Cleanup is its word that a generation is over.
func (c *consumer) Cleanup(sarama.ConsumerGroupSession) error {
	c.lock.Lock()
	defer c.lock.Unlock()
	for one := range c.assigned {
		c.revoked = append(c.revoked, one.Index)
	}
	clear(c.assigned)
	return nil
}

// ConsumeClaim hands on one partition's messages until its generation is over.
func (c *consumer) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			c.messages <- message
			if c.options.AutoCommit {
				session.MarkMessage(message, "")
			}
		case <-session.Context().Done():
			return nil
		}
	}
}

func (c *consumer) subscribe(topics []string) error {
	group, err := sarama.NewConsumerGroup([]string{c.client.bootstrap}, c.group, c.config)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	c.stop, c.done = stop, make(chan struct{})
	go func() {
		defer close(c.done)
		for ctx.Err() == nil {
			if err := group.Consume(ctx, topics, c); err != nil {
				time.Sleep(100 * time.Millisecond)
			}
		}
		group.Close()
	}()
	return nil
}

func (c *consumer) assign(partitions []bridge.Partition) (err error) {
	if c.alone, err = sarama.NewConsumer([]string{c.client.bootstrap}, c.config); err != nil {
		return err
	}
	for _, one := range partitions {
		offset := c.config.Consumer.Offsets.Initial
		found, err := c.committed(one)
		if err != nil {
			return err
		}
		if pair, ok := found.([]any); ok {
			offset = pair[0].(int64)
		}
		if err := c.read(one, offset); err != nil {
			return err
		}
		c.assigned[one] = true
	}
	return nil
}

// read begins to read a partition at an offset; one that is read already is left first.
func (c *consumer) read(partition bridge.Partition, offset int64) error {
	if before := c.readers[partition]; before != nil {
		if err := before.Close(); err != nil {
			return err
		}
		for len(c.messages) > 0 {
			<-c.messages
		}
	}
	reader, err := c.alone.ConsumePartition(partition.Topic, partition.Index, offset)
	if err != nil {
		return err
	}
	c.readers[partition] = reader
	go func() {
		for message := range reader.Messages() {
			c.messages <- message
		}
	}()
	return nil
}

func (c *consumer) Call(name string, request *bridge.Request) (any, error) {
	one := request.Partition
	switch name {
	case "subscribe":
		return nil, c.subscribe(request.Names())
	case "assign":
		return nil, c.assign(request.Partitions)
	case "assignment":
		return c.assignment(), nil
	case "poll":
		return c.poll(time.Duration(request.Seconds * float64(time.Second))), nil
	case "seek":
		return nil, c.read(one, request.Offset)
	case "seek_to_beginning":
		return nil, c.read(one, sarama.OffsetOldest)
	case "seek_to_end":
		return nil, c.read(one, sarama.OffsetNewest)
	case "pause":
		c.readers[one].Pause()
		return nil, nil
	case "resume":
		c.readers[one].Resume()
		return nil, nil
	case "commit", "commit_async":
		return nil, c.commit(request)
	case "committed":
		return c.committed(one)
	case "offset_for_time":
		return c.offsetForTime(one, request.Timestamp)
	case "beginning_and_end":
		return c.beginningAndEnd(one)
	case "close":
		return nil, c.close()
	}
	return nil, fmt.Errorf("no call %s", name)
}

func (c *consumer) assignment() []bridge.Partition {
	c.lock.Lock()
	defer c.lock.Unlock()
	partitions := []bridge.Partition{}
	for one := range c.assigned {
		partitions = append(partitions, one)
	}
	return partitions
}

func (c *consumer) poll(wait time.Duration) bridge.Polled {
	polled := bridge.Polled{Messages: []bridge.Message{}, Revoked: []int32{}}
	timeout := time.After(wait)
	select {
	case message := <-c.messages:
		polled.Messages = append(polled.Messages, told(message))
		for len(c.messages) > 0 {
			polled.Messages = append(polled.Messages, told(<-c.messages))
		}
	case <-timeout:
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	polled.Revoked, c.revoked = append(polled.Revoked, c.revoked...), nil
	return polled
}

func told(message *sarama.ConsumerMessage) bridge.Message {
	headers := []bridge.Header{}
	for _, header := range message.Headers {
		headers = append(headers, bridge.Header{Key: string(header.Key), Value: header.Value})
	}
	return bridge.Message{
		Topic: message.Topic, Partition: message.Partition, Offset: message.Offset, Key: message.Key,
		Value: message.Value, Headers: headers, Timestamp: message.Timestamp.UnixMilli(), TimestampType: "untold",
	}
}

// commit works through the session of a member, else through a manager of the group's offsets.
func (c *consumer) commit(request *bridge.Request) error {
	c.lock.Lock()
	session := c.session
	c.lock.Unlock()
	one := request.Partition
	if session != nil {
		session.MarkOffset(one.Topic, one.Index, request.Offset, request.Metadata)
		session.Commit()
		return nil
	}
	shared, _, err := c.client.connected()
	if err != nil {
		return err
	}
	offsets, err := sarama.NewOffsetManagerFromClient(c.group, shared)
	if err != nil {
		return err
	}
	defer offsets.Close()
	partition, err := offsets.ManagePartition(one.Topic, one.Index)
	if err != nil {
		return err
	}
	partition.MarkOffset(request.Offset, request.Metadata)
	offsets.Commit()
	return partition.Close()
}

func (c *consumer) committed(partition bridge.Partition) (any, error) {
	if c.group == "" {
		return nil, nil
	}
	_, admin, err := c.client.connected()
	if err != nil {
		return nil, err
	}
	found, err := admin.ListConsumerGroupOffsets(c.group, map[string][]int32{partition.Topic: {partition.Index}})
	if err != nil {
		return nil, err
	}
	block := found.GetBlock(partition.Topic, partition.Index)
	if block == nil || block.Offset < 0 {
		return nil, nil
	}
	return []any{block.Offset, block.Metadata}, nil
}

func (c *consumer) offsetForTime(partition bridge.Partition, timestamp int64) (any, error) {
	shared, _, err := c.client.connected()
	if err != nil {
		return nil, err
	}
	offset, err := shared.GetOffset(partition.Topic, partition.Index, timestamp)
	if err != nil || offset < 0 {
		return nil, err
	}
	return offset, nil
}

func (c *consumer) beginningAndEnd(partition bridge.Partition) (any, error) {
	shared, _, err := c.client.connected()
	if err != nil {
		return nil, err
	}
	beginning, err := shared.GetOffset(partition.Topic, partition.Index, sarama.OffsetOldest)
	if err != nil {
		return nil, err
	}
	end, err := shared.GetOffset(partition.Topic, partition.Index, sarama.OffsetNewest)
	return [2]int64{beginning, end}, err
}

func (c *consumer) close() error {
	if c.stop != nil {
		c.stop()
		<-c.done
	}
	for _, reader := range c.readers {
		reader.AsyncClose()
	}
	return nil
}

func (c *client) Administrate(name string, request *bridge.Request) (any, error) {
	shared, admin, err := c.connected()
	if err != nil {
		return nil, err
	}
	codes := map[string]int16{}
	switch name {
	case "create_topics":
		for topic, wanted := range request.NewTopics() {
			config := map[string]*string{}
			for key, value := range wanted.Config {
				config[key] = &value
			}
			codes[topic] = c.code(admin.CreateTopic(topic, &sarama.TopicDetail{
				NumPartitions: wanted.Partitions, ReplicationFactor: 1, ConfigEntries: config,
			}, false))
		}
		return codes, nil
	case "delete_topics":
		for _, topic := range request.Names() {
			codes[topic] = c.code(admin.DeleteTopic(topic))
		}
		return codes, nil
	case "create_partitions":
		for topic, total := range request.Totals {
			codes[topic] = c.code(admin.CreatePartitions(topic, total, nil, false))
		}
		return codes, nil
	case "list_topics":
		topics, err := admin.ListTopics()
		names := []string{}
		for topic := range topics {
			names = append(names, topic)
		}
		return names, err
	case "describe_topic":
		return describeTopic(admin, request.Topic)
	case "describe_cluster":
		brokers, controller, err := admin.DescribeCluster()
		told := []any{}
		for _, broker := range brokers {
			told = append(told, map[string]any{"id": broker.ID(), "address": broker.Addr()})
		}
		return map[string]any{"cluster_id": "", "controller": controller, "brokers": told}, err
	case "config":
		return config(admin, request)
	case "alter_config":
		entries := map[string]sarama.IncrementalAlterConfigsEntry{}
		for key, value := range request.Config {
			entries[key] = sarama.IncrementalAlterConfigsEntry{
				Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value,
			}
		}
		kind := sarama.BrokerResource
		if request.Kind == "topic" {
			kind = sarama.TopicResource
		}
		return nil, admin.IncrementalAlterConfig(kind, request.Name, entries, false)
	case "list_groups":
		groups, err := admin.ListConsumerGroups()
		names := []string{}
		for group := range groups {
			names = append(names, group)
		}
		return names, err
	case "describe_group":
		return describeGroup(shared, admin, request.Group)
	case "delete_group":
		codes[request.Group] = c.code(admin.DeleteConsumerGroup(request.Group))
		return codes, nil
	}
	return nil, fmt.Errorf("no call %s", name)
}

func describeTopic(admin sarama.ClusterAdmin, name string) (any, error) {
	topics, err := admin.DescribeTopics([]string{name})
	if err != nil {
		return nil, err
	}
	partitions := []any{}
	for _, one := range topics[0].Partitions {
		partitions = append(partitions, map[string]any{
			"partition": one.ID, "leader": one.Leader, "replicas": one.Replicas, "isr": one.Isr,
		})
	}
	return partitions, nil
}

func config(admin sarama.ClusterAdmin, request *bridge.Request) (any, error) {
	kind := sarama.BrokerResource
	if request.Kind == "topic" {
		kind = sarama.TopicResource
	} else if _, err := strconv.Atoi(request.Name); err != nil {
		return nil, err
	}
	found, err := admin.DescribeConfig(sarama.ConfigResource{Type: kind, Name: request.Name})
	entries := map[string]any{}
	for _, entry := range found {
		entries[entry.Name] = []any{entry.Value, entry.Source == sarama.SourceTopic}
	}
	return entries, err
}

func describeGroup(shared sarama.Client, admin sarama.ClusterAdmin, name string) (any, error) {
	if err := shared.RefreshCoordinator(name); err != nil {
		return nil, err
	}
	groups, err := admin.DescribeConsumerGroups([]string{name})
	if err != nil {
		return nil, err
	}
	members := [][]bridge.Partition{}
	for _, member := range groups[0].Members {
		assigned := []bridge.Partition{}
		assignment, err := member.GetMemberAssignment()
		if err != nil {
			return nil, err
		}
		if assignment != nil {
			for topic, indexes := range assignment.Topics {
				for _, index := range indexes {
					assigned = append(assigned, bridge.Partition{Topic: topic, Index: index})
				}
			}
		}
		members = append(members, assigned)
	}
	return map[string]any{"state": groups[0].State, "members": members}, nil
}
