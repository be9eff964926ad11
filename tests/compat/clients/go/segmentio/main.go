// kafka-go does what bridge.py asks for.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"behaviours/bridge"

	"github.com/segmentio/kafka-go"
)

const patience = 30 * time.Second

type client struct {
	bootstrap string
	kafka     *kafka.Client
}

func main() {
	bootstrap := os.Args[1]
	bridge.Serve(&client{bootstrap, &kafka.Client{
		Addr: kafka.TCP(bootstrap), Timeout: patience,
		Transport: &kafka.Transport{},
	}})
}

func (c *client) Version() string { return bridge.ModuleVersion("github.com/segmentio/kafka-go") }

func (c *client) Code(err error) (int16, bool) {
	var refusal kafka.Error
	if errors.As(err, &refusal) {
		return int16(refusal), true
	}
	return 0, false
}

func (c *client) codes(refusals map[string]error, err error) (any, error) {
	codes := map[string]int16{}
	for name, refusal := range refusals {
		codes[name] = 0
		if refusal != nil {
			codes[name] = -1
			if code, ok := c.Code(refusal); ok {
				codes[name] = code
			}
		}
	}
	return codes, err
}

var codecs = map[string]kafka.Compression{
	"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
}

func (c *client) Produce(request *bridge.Request) (any, error) {
	reports := make([][3]int64, len(request.Records))
	var lock sync.Mutex
	fresh := &kafka.Transport{}
	defer fresh.CloseIdleConnections()
	writer := &kafka.Writer{
		Addr: kafka.TCP(c.bootstrap), Topic: request.Topic, AllowAutoTopicCreation: true, ReadTimeout: patience, BatchTimeout: 5 * time.Millisecond,
		BatchSize: 500, BatchBytes: int64(max(request.Options.MaxBytes, 1_048_588)), RequiredAcks: kafka.RequireAll,
		Compression: codecs[request.Options.Compression], Transport: fresh,
		Completion: func(messages []kafka.Message, err error) {
			lock.Lock()
			defer lock.Unlock()
			for _, one := range messages {
				reports[one.WriterData.(int)] = [3]int64{int64(one.Partition), one.Offset, one.Time.UnixMilli()}
			}
		},
	}
	balancer := &kafka.Murmur2Balancer{}
	writer.Balancer = kafka.BalancerFunc(func(message kafka.Message, partitions ...int) int {
		if asked := request.Records[message.WriterData.(int)].Partition; asked != nil {
			return int(*asked)
		}
		return balancer.Balance(message, partitions...)
	})
	if acks, err := strconv.Atoi(request.Options.Acks); err == nil {
		writer.RequiredAcks = kafka.RequiredAcks(acks)
	}
	messages := make([]kafka.Message, len(request.Records))
	for i, one := range request.Records {
		messages[i] = kafka.Message{Key: one.Key, Value: one.Value, WriterData: i}
		for _, header := range one.Headers {
			messages[i].Headers = append(messages[i].Headers, kafka.Header{Key: header.Key, Value: header.Value})
		}
		if one.Timestamp != nil {
			messages[i].Time = time.UnixMilli(*one.Timestamp)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := writer.WriteMessages(ctx, messages...)
	if closed := writer.Close(); err == nil {
		err = closed
	}
	var failures kafka.WriteErrors
	if errors.As(err, &failures) {
		for _, failure := range failures {
			if failure != nil {
				return nil, failure
			}
		}
	}
	lock.Lock()
	defer lock.Unlock()
	return reports, err
}

// consumer is a group's member that reads what each generation gives it, or a reader for each partition that it was told.
type consumer struct {
	client     *client
	group      string
	options    bridge.Options
	member     *kafka.ConsumerGroup
	messages   chan kafka.Message
	stop       context.CancelFunc
	done       sync.WaitGroup
	lock       sync.Mutex
	generation *kafka.Generation
	assigned   map[bridge.Partition]bool
	revoked    []int32
	readers    map[bridge.Partition]*kafka.Reader
	next       map[string]map[int]int64
}

func (c *client) NewConsumer(group string, options bridge.Options) (bridge.Consumer, error) {
	return &consumer{
		client: c, group: group, options: options, messages: make(chan kafka.Message, 4096), stop: func() {},
		assigned: map[bridge.Partition]bool{}, readers: map[bridge.Partition]*kafka.Reader{},
		next: map[string]map[int]int64{},
	}, nil
}

func (c *consumer) first() int64 {
	if c.options.Reset == "latest" {
		return kafka.LastOffset
	}
	return kafka.FirstOffset
}

func (c *consumer) subscribe(topics []string) (err error) {
	config := kafka.ConsumerGroupConfig{
		ID: c.group, Brokers: []string{c.client.bootstrap}, Topics: topics, StartOffset: c.first(),
		HeartbeatInterval: 500 * time.Millisecond, JoinGroupBackoff: 100 * time.Millisecond,
		RebalanceTimeout: 10 * time.Second, WatchPartitionChanges: true, PartitionWatchInterval: 500 * time.Millisecond,
	}
	if c.options.SessionMs > 0 {
		config.SessionTimeout = time.Duration(c.options.SessionMs) * time.Millisecond
	}
	if c.member, err = kafka.NewConsumerGroup(config); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.done.Add(1)
	go func() {
		defer c.done.Done()
		for ctx.Err() == nil {
			generation, err := c.member.Next(ctx)
			if err != nil {
				continue
			}
			c.begin(generation)
		}
	}()
	return nil
}

func (c *consumer) begin(generation *kafka.Generation) {
	c.lock.Lock()
	defer c.lock.Unlock()
	for one := range c.assigned {
		c.revoked = append(c.revoked, one.Index)
	}
	clear(c.assigned)
	c.generation = generation
	for topic, assignments := range generation.Assignments {
		for _, one := range assignments {
			partition := bridge.Partition{Topic: topic, Index: int32(one.ID)}
			c.assigned[partition] = true
			generation.Start(func(ctx context.Context) {
				reader := c.reader(partition, one.Offset)
				defer reader.Close()
				c.read(ctx, reader)
			})
		}
	}
}

func (c *consumer) reader(partition bridge.Partition, offset int64) *kafka.Reader {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{c.client.bootstrap}, Topic: partition.Topic, Partition: int(partition.Index),
		MaxWait: 100 * time.Millisecond, MaxBytes: 10 << 20, ReadBackoffMax: 200 * time.Millisecond,
	})
	_ = reader.SetOffset(offset)
	return reader
}

func (c *consumer) read(ctx context.Context, reader *kafka.Reader) {
	for {
		message, err := reader.ReadMessage(ctx)
		if err != nil {
			return
		}
		c.messages <- message
	}
}

func (c *consumer) assign(partitions []bridge.Partition) error {
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	for _, one := range partitions {
		offset := c.first()
		found, err := c.committed(one)
		if err != nil {
			return err
		}
		if pair, ok := found.([]any); ok {
			offset = pair[0].(int64)
		}
		reader := c.reader(one, offset)
		c.readers[one], c.assigned[one] = reader, true
		go c.read(ctx, reader)
	}
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
		return nil, c.readers[one].SetOffset(request.Offset)
	case "seek_to_beginning":
		return nil, c.readers[one].SetOffset(kafka.FirstOffset)
	case "seek_to_end":
		return nil, c.readers[one].SetOffset(kafka.LastOffset)
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
	select {
	case message := <-c.messages:
		polled.Messages = append(polled.Messages, c.told(message))
		for len(c.messages) > 0 {
			polled.Messages = append(polled.Messages, c.told(<-c.messages))
		}
	case <-time.After(wait):
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	polled.Revoked, c.revoked = append(polled.Revoked, c.revoked...), nil
	return polled
}

func (c *consumer) told(message kafka.Message) bridge.Message {
	if c.next[message.Topic] == nil {
		c.next[message.Topic] = map[int]int64{}
	}
	c.next[message.Topic][message.Partition] = message.Offset + 1
	headers := []bridge.Header{}
	for _, header := range message.Headers {
		headers = append(headers, bridge.Header(header))
	}
	return bridge.Message{
		Topic: message.Topic, Partition: int32(message.Partition), Offset: message.Offset, Key: message.Key,
		Value: message.Value, Headers: headers, Timestamp: message.Time.UnixMilli(), TimestampType: "untold",
	}
}

// commit works through the low client: that of a generation takes no metadata.
func (c *consumer) commit(request *bridge.Request) error {
	ask := &kafka.OffsetCommitRequest{GroupID: c.group, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{
		request.Partition.Topic: {{
			Partition: int(request.Partition.Index), Offset: request.Offset, Metadata: request.Metadata,
		}},
	}}
	c.lock.Lock()
	if c.generation != nil {
		ask.GenerationID, ask.MemberID = int(c.generation.ID), c.generation.MemberID
	}
	c.lock.Unlock()
	answer, err := c.client.kafka.OffsetCommit(context.Background(), ask)
	if err != nil {
		return err
	}
	return answer.Topics[request.Partition.Topic][0].Error
}

func (c *consumer) committed(partition bridge.Partition) (any, error) {
	if c.group == "" {
		return nil, nil
	}
	answer, err := c.client.kafka.OffsetFetch(context.Background(), &kafka.OffsetFetchRequest{
		GroupID: c.group, Topics: map[string][]int{partition.Topic: {int(partition.Index)}},
	})
	if err != nil || answer.Error != nil {
		return nil, errors.Join(err, answer.Error)
	}
	found := answer.Topics[partition.Topic][0]
	if found.CommittedOffset < 0 {
		return nil, found.Error
	}
	return []any{found.CommittedOffset, found.Metadata}, found.Error
}

func (c *consumer) offsets(partition bridge.Partition, asked ...kafka.OffsetRequest) (kafka.PartitionOffsets, error) {
	answer, err := c.client.kafka.ListOffsets(context.Background(), &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{partition.Topic: asked},
	})
	if err != nil {
		return kafka.PartitionOffsets{}, err
	}
	found := answer.Topics[partition.Topic][0]
	return found, found.Error
}

func (c *consumer) offsetForTime(partition bridge.Partition, timestamp int64) (any, error) {
	found, err := c.offsets(partition, kafka.TimeOffsetOf(int(partition.Index), time.UnixMilli(timestamp)))
	if err != nil {
		return nil, err
	}
	for offset := range found.Offsets {
		if offset >= 0 {
			return offset, nil
		}
	}
	return nil, nil
}

func (c *consumer) beginningAndEnd(partition bridge.Partition) (any, error) {
	index := int(partition.Index)
	found, err := c.offsets(partition, kafka.FirstOffsetOf(index), kafka.LastOffsetOf(index))
	return [2]int64{found.FirstOffset, found.LastOffset}, err
}

func (c *consumer) close() error {
	c.lock.Lock()
	generation := c.generation
	c.lock.Unlock()
	if c.options.AutoCommit && generation != nil {
		if err := generation.CommitOffsets(c.next); err != nil {
			return err
		}
	}
	c.stop()
	c.done.Wait()
	for _, reader := range c.readers {
		reader.Close()
	}
	if c.member != nil {
		return c.member.Close()
	}
	return nil
}

func (c *client) Administrate(name string, request *bridge.Request) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	switch name {
	case "create_topics":
		asked := &kafka.CreateTopicsRequest{}
		for topic, wanted := range request.NewTopics() {
			config := kafka.TopicConfig{Topic: topic, NumPartitions: int(wanted.Partitions), ReplicationFactor: 1}
			for key, value := range wanted.Config {
				config.ConfigEntries = append(config.ConfigEntries, kafka.ConfigEntry{ConfigName: key, ConfigValue: value})
			}
			asked.Topics = append(asked.Topics, config)
		}
		answer, err := c.kafka.CreateTopics(ctx, asked)
		if err != nil {
			return nil, err
		}
		return c.codes(answer.Errors, nil)
	case "delete_topics":
		answer, err := c.kafka.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: request.Names()})
		if err != nil {
			return nil, err
		}
		return c.codes(answer.Errors, nil)
	case "create_partitions":
		asked := &kafka.CreatePartitionsRequest{}
		for topic, total := range request.Totals {
			asked.Topics = append(asked.Topics, kafka.TopicPartitionsConfig{Name: topic, Count: total})
		}
		answer, err := c.kafka.CreatePartitions(ctx, asked)
		if err != nil {
			return nil, err
		}
		return c.codes(answer.Errors, nil)
	case "delete_group":
		answer, err := c.kafka.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{request.Group}})
		if err != nil {
			return nil, err
		}
		return c.codes(answer.Errors, nil)
	}
	// Its transport answers from a cache: who wants to see what is there now takes a new one.
	fresh := &kafka.Transport{}
	defer fresh.CloseIdleConnections()
	now := &client{c.bootstrap, &kafka.Client{Addr: c.kafka.Addr, Timeout: patience, Transport: fresh}}
	return now.look(ctx, name, request)
}

func (c *client) look(ctx context.Context, name string, request *bridge.Request) (any, error) {
	switch name {
	case "list_topics", "describe_cluster":
		found, err := c.kafka.Metadata(ctx, &kafka.MetadataRequest{})
		if err != nil {
			return nil, err
		}
		if name == "list_topics" {
			names := []string{}
			for _, topic := range found.Topics {
				names = append(names, topic.Name)
			}
			return names, nil
		}
		brokers := []any{}
		for _, one := range found.Brokers {
			address := net.JoinHostPort(one.Host, strconv.Itoa(one.Port))
			brokers = append(brokers, map[string]any{"id": one.ID, "address": address})
		}
		return map[string]any{
			"cluster_id": found.ClusterID, "controller": found.Controller.ID, "brokers": brokers,
		}, nil
	case "describe_topic":
		return c.describeTopic(ctx, request.Topic)
	case "config":
		return c.config(ctx, request)
	case "alter_config":
		return nil, c.alterConfig(ctx, request)
	case "list_groups":
		found, err := c.kafka.ListGroups(ctx, &kafka.ListGroupsRequest{})
		if err != nil {
			return nil, err
		}
		names := []string{}
		for _, group := range found.Groups {
			names = append(names, group.GroupID)
		}
		return names, found.Error
	case "describe_group":
		return c.describeGroup(ctx, request.Group)
	}
	return nil, fmt.Errorf("no call %s", name)
}

func (c *client) describeTopic(ctx context.Context, name string) (any, error) {
	found, err := c.kafka.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{name}})
	if err != nil {
		return nil, err
	}
	ids := func(brokers []kafka.Broker) []int {
		found := []int{}
		for _, broker := range brokers {
			found = append(found, broker.ID)
		}
		return found
	}
	partitions := []any{}
	for _, one := range found.Topics[0].Partitions {
		partitions = append(partitions, map[string]any{
			"partition": one.ID, "leader": one.Leader.ID, "replicas": ids(one.Replicas), "isr": ids(one.Isr),
		})
	}
	return partitions, nil
}

func (c *client) alterConfig(ctx context.Context, request *bridge.Request) error {
	kind := kafka.ResourceTypeBroker
	if request.Kind == "topic" {
		kind = kafka.ResourceTypeTopic
	}
	resource := kafka.IncrementalAlterConfigsRequestResource{ResourceType: kind, ResourceName: request.Name}
	for key, value := range request.Config {
		resource.Configs = append(resource.Configs, kafka.IncrementalAlterConfigsRequestConfig{
			Name: key, Value: value, ConfigOperation: kafka.ConfigOperationSet,
		})
	}
	altered, err := c.kafka.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{resource},
	})
	if err != nil {
		return err
	}
	return altered.Resources[0].Error
}

func (c *client) config(ctx context.Context, request *bridge.Request) (any, error) {
	kind := kafka.ResourceTypeBroker
	if request.Kind == "topic" {
		kind = kafka.ResourceTypeTopic
	}
	found, err := c.kafka.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kind, ResourceName: request.Name}},
	})
	if err != nil {
		return nil, err
	}
	const topicSource = 1
	entries := map[string]any{}
	for _, entry := range found.Resources[0].ConfigEntries {
		entries[entry.ConfigName] = []any{entry.ConfigValue, entry.ConfigSource == topicSource}
	}
	return entries, found.Resources[0].Error
}

func (c *client) describeGroup(ctx context.Context, name string) (any, error) {
	found, err := c.kafka.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{name}})
	if err != nil {
		return nil, err
	}
	group := found.Groups[0]
	members := [][]bridge.Partition{}
	for _, member := range group.Members {
		assigned := []bridge.Partition{}
		for _, topic := range member.MemberAssignments.Topics {
			for _, index := range topic.Partitions {
				assigned = append(assigned, bridge.Partition{Topic: topic.Topic, Index: int32(index)})
			}
		}
		members = append(members, assigned)
	}
	return map[string]any{"state": group.GroupState, "members": members}, group.Error
}
