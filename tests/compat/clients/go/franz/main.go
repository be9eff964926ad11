// franz-go does what bridge.py asks for.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sort"
	"sync"
	"time"

	"behaviours/bridge"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const patience = 30 * time.Second

var codecs = map[string]kgo.CompressionCodec{
	"": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

type franz struct {
	bootstrap string
	admin     *kadm.Client
}

func main() {
	client, err := kgo.NewClient(kgo.SeedBrokers(os.Args[1]), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		panic(err)
	}
	bridge.Serve(&franz{os.Args[1], kadm.NewClient(client)})
}

func (f *franz) Version() string { return bridge.ModuleVersion("github.com/twmb/franz-go") }

func (f *franz) Code(err error) (int16, bool) {
	var refusal *kerr.Error
	if errors.As(err, &refusal) {
		return refusal.Code, true
	}
	return 0, false
}

// code is the error code of an answer that has one for each name.
func code(err error) int16 {
	if err == nil {
		return 0
	}
	var refusal *kerr.Error
	if errors.As(err, &refusal) {
		return refusal.Code
	}
	return -1
}

func (f *franz) Produce(request *bridge.Request) (any, error) {
	options := []kgo.Opt{
		kgo.SeedBrokers(f.bootstrap), kgo.AllowAutoTopicCreation(), kgo.ProducerLinger(5 * time.Millisecond),
		// With its default of 4, metadata that is asked for so often ends before a busy controller has made the topic.
		kgo.UnknownTopicRetries(100),
		kgo.ProducerBatchCompression(codecs[request.Options.Compression]),
		kgo.MetadataMinAge(100 * time.Millisecond),
	}
	switch request.Options.Acks {
	case "0":
		options = append(options, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	case "1":
		options = append(options, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	default:
		if !request.Options.Idempotent {
			options = append(options, kgo.DisableIdempotentWrite())
		}
	}
	options = append(options, kgo.ProducerBatchMaxBytes(max(request.Options.MaxBytes, 1_048_588)))
	if len(request.Records) > 0 && request.Records[0].Partition != nil {
		options = append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	records := make([]*kgo.Record, len(request.Records))
	for i, one := range request.Records {
		record := &kgo.Record{Topic: request.Topic, Key: one.Key, Value: one.Value}
		for _, header := range one.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: header.Key, Value: header.Value})
		}
		if one.Timestamp != nil {
			record.Timestamp = time.UnixMilli(*one.Timestamp)
		}
		if one.Partition != nil {
			record.Partition = *one.Partition
		}
		records[i] = record
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return nil, err
	}
	reports := make([][3]int64, len(records))
	for i, record := range records {
		reports[i] = [3]int64{int64(record.Partition), record.Offset, record.Timestamp.UnixMilli()}
	}
	return reports, nil
}

// consumer is a client that is made when it is told what to consume: in franz-go that is part of making it.
type consumer struct {
	franz    *franz
	group    string
	options  bridge.Options
	client   *kgo.Client
	direct   bool
	lock     sync.Mutex
	assigned map[bridge.Partition]bool
	revoked  []int32
}

func (f *franz) NewConsumer(group string, options bridge.Options) (bridge.Consumer, error) {
	return &consumer{franz: f, group: group, options: options, assigned: map[bridge.Partition]bool{}}, nil
}

func (c *consumer) reset() kgo.Offset {
	if c.options.Reset == "latest" {
		return kgo.NewOffset().AtEnd()
	}
	return kgo.NewOffset().AtStart()
}

func (c *consumer) start(more ...kgo.Opt) (err error) {
	options := append([]kgo.Opt{
		kgo.SeedBrokers(c.franz.bootstrap), kgo.ConsumeResetOffset(c.reset()),
		kgo.MetadataMaxAge(500 * time.Millisecond), kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.FetchMaxWait(100 * time.Millisecond),
	}, more...)
	if c.options.AutoCreate {
		options = append(options, kgo.AllowAutoTopicCreation())
	}
	if c.options.CommittedOnly {
		options = append(options, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	c.client, err = kgo.NewClient(options...)
	return err
}

func (c *consumer) join(more ...kgo.Opt) error {
	options := append([]kgo.Opt{
		kgo.ConsumerGroup(c.group),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, given map[string][]int32) {
			c.changed(given, true)
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, taken map[string][]int32) {
			c.changed(taken, false)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
			c.changed(lost, false)
		}),
	}, more...)
	if !c.options.AutoCommit {
		options = append(options, kgo.DisableAutoCommit())
	}
	if c.options.SessionMs > 0 {
		options = append(options, kgo.SessionTimeout(time.Duration(c.options.SessionMs)*time.Millisecond),
			kgo.HeartbeatInterval(500*time.Millisecond))
	}
	if c.options.InstanceID != "" {
		options = append(options, kgo.InstanceID(c.options.InstanceID))
	}
	if c.options.Strategy != "cooperative-sticky" {
		options = append(options, kgo.Balancers(kgo.RangeBalancer(), kgo.RoundRobinBalancer()))
	}
	return c.start(options...)
}

func (c *consumer) changed(partitions map[string][]int32, given bool) {
	c.lock.Lock()
	defer c.lock.Unlock()
	for topic, indexes := range partitions {
		for _, index := range indexes {
			if given {
				c.assigned[bridge.Partition{Topic: topic, Index: index}] = true
			} else {
				delete(c.assigned, bridge.Partition{Topic: topic, Index: index})
				c.revoked = append(c.revoked, index)
			}
		}
	}
}

func (c *consumer) Call(name string, request *bridge.Request) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	one := map[string][]int32{request.Partition.Topic: {request.Partition.Index}}
	switch name {
	case "subscribe":
		return nil, c.join(kgo.ConsumeTopics(request.Names()...))
	case "subscribe_pattern":
		return nil, c.join(kgo.ConsumeTopics(request.Pattern), kgo.ConsumeRegex())
	case "assign":
		return nil, c.assign(ctx, request.Partitions)
	case "assignment":
		return c.assignment(), nil
	case "poll":
		return c.poll(time.Duration(request.Seconds * float64(time.Second)))
	case "seek":
		return nil, c.seek(request.Partition, request.Offset)
	case "seek_to_beginning", "seek_to_end":
		return nil, c.seekToEdge(ctx, name, request.Partition)
	case "pause":
		c.client.PauseFetchPartitions(one)
		return nil, nil
	case "resume":
		c.client.ResumeFetchPartitions(one)
		return nil, nil
	case "commit":
		return nil, c.commit(ctx, request)
	case "commit_async":
		return nil, c.commitAsync(ctx, request)
	case "committed":
		return c.committed(ctx, request.Partition)
	case "offset_for_time":
		return c.offsetForTime(ctx, request)
	case "beginning_and_end":
		return c.beginningAndEnd(ctx, request.Partition)
	case "close":
		return nil, c.close(ctx)
	}
	return nil, fmt.Errorf("no call %s", name)
}

func (c *consumer) assign(ctx context.Context, partitions []bridge.Partition) error {
	offsets := map[string]map[int32]kgo.Offset{}
	for _, one := range partitions {
		if offsets[one.Topic] == nil {
			offsets[one.Topic] = map[int32]kgo.Offset{}
		}
		offsets[one.Topic][one.Index] = c.reset()
		found, err := c.committed(ctx, one)
		if err != nil {
			return err
		}
		if pair, ok := found.([]any); ok {
			offsets[one.Topic][one.Index] = kgo.NewOffset().At(pair[0].(int64))
		}
		c.assigned[one] = true
	}
	c.direct = true
	return c.start(kgo.ConsumePartitions(offsets))
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

func (c *consumer) poll(wait time.Duration) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	polled := bridge.Polled{Messages: []bridge.Message{}, Revoked: []int32{}}
	fetches := c.client.PollRecords(ctx, 500)
	for _, failed := range fetches.Errors() {
		if !errors.Is(failed.Err, context.DeadlineExceeded) && code(failed.Err) != kerr.UnknownTopicOrPartition.Code {
			return nil, failed.Err
		}
	}
	fetches.EachRecord(func(record *kgo.Record) {
		message := bridge.Message{
			Topic: record.Topic, Partition: record.Partition, Offset: record.Offset, Key: record.Key,
			Value: record.Value, Headers: []bridge.Header{}, Timestamp: record.Timestamp.UnixMilli(),
			TimestampType: map[int8]string{0: "create", 1: "log_append"}[record.Attrs.TimestampType()],
		}
		for _, header := range record.Headers {
			message.Headers = append(message.Headers, bridge.Header(header))
		}
		polled.Messages = append(polled.Messages, message)
	})
	c.lock.Lock()
	defer c.lock.Unlock()
	polled.Revoked, c.revoked = append(polled.Revoked, c.revoked...), nil
	return polled, nil
}

func (c *consumer) seek(partition bridge.Partition, offset int64) error {
	c.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{
		partition.Topic: {partition.Index: {Epoch: -1, Offset: offset}},
	})
	return nil
}

func (c *consumer) seekToEdge(ctx context.Context, name string, partition bridge.Partition) error {
	found, err := c.beginningAndEnd(ctx, partition)
	if err != nil {
		return err
	}
	edges := found.([2]int64)
	if name == "seek_to_end" {
		return c.seek(partition, edges[1])
	}
	return c.seek(partition, edges[0])
}

func (c *consumer) commit(ctx context.Context, request *bridge.Request) error {
	topic, index := request.Partition.Topic, request.Partition.Index
	if c.direct {
		offsets := kadm.Offsets{}
		offsets.Add(kadm.Offset{
			Topic: topic, Partition: index, At: request.Offset, LeaderEpoch: -1, Metadata: request.Metadata,
		})
		committed, err := c.franz.admin.CommitOffsets(ctx, c.group, offsets)
		if err != nil {
			return err
		}
		return committed.Error()
	}
	var failure error
	annotated := kgo.PreCommitFnContext(ctx, func(commit *kmsg.OffsetCommitRequest) error {
		for i := range commit.Topics {
			for j := range commit.Topics[i].Partitions {
				commit.Topics[i].Partitions[j].Metadata = &request.Metadata
			}
		}
		return nil
	})
	c.client.CommitOffsetsSync(annotated, c.offset(request), func(
		_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error,
	) {
		failure = failed(answer, err)
	})
	return failure
}

func (c *consumer) offset(request *bridge.Request) map[string]map[int32]kgo.EpochOffset {
	return map[string]map[int32]kgo.EpochOffset{
		request.Partition.Topic: {request.Partition.Index: {Epoch: -1, Offset: request.Offset}},
	}
}

func failed(answer *kmsg.OffsetCommitResponse, err error) error {
	if err != nil || answer == nil {
		return err
	}
	for _, topic := range answer.Topics {
		for _, partition := range topic.Partitions {
			if refusal := kerr.ErrorForCode(partition.ErrorCode); refusal != nil {
				return refusal
			}
		}
	}
	return nil
}

func (c *consumer) commitAsync(ctx context.Context, request *bridge.Request) error {
	done := make(chan error, 1)
	annotated := kgo.PreCommitFnContext(ctx, func(commit *kmsg.OffsetCommitRequest) error {
		commit.Topics[0].Partitions[0].Metadata = &request.Metadata
		return nil
	})
	c.client.CommitOffsets(annotated, c.offset(request), func(
		_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error,
	) {
		done <- failed(answer, err)
	})
	return <-done
}

func (c *consumer) committed(ctx context.Context, partition bridge.Partition) (any, error) {
	if c.group == "" {
		return nil, nil
	}
	found, err := c.franz.admin.FetchOffsets(ctx, c.group)
	if err != nil {
		return nil, err
	}
	offset, ok := found.Lookup(partition.Topic, partition.Index)
	if !ok || offset.At < 0 {
		return nil, offset.Err
	}
	return []any{offset.At, offset.Metadata}, offset.Err
}

func (c *consumer) offsetForTime(ctx context.Context, request *bridge.Request) (any, error) {
	// kadm answers with the end where no record is that late; the request itself tells.
	ask := kmsg.NewPtrListOffsetsRequest()
	ask.ReplicaID = -1
	topic, partition := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	topic.Topic, partition.Partition, partition.Timestamp =
		request.Partition.Topic, request.Partition.Index, request.Timestamp
	topic.Partitions = append(topic.Partitions, partition)
	ask.Topics = append(ask.Topics, topic)
	client, err := kgo.NewClient(kgo.SeedBrokers(c.franz.bootstrap))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	answer, err := ask.RequestWith(ctx, client)
	if err != nil {
		return nil, err
	}
	found := answer.Topics[0].Partitions[0]
	if found.Offset < 0 {
		return nil, kerr.ErrorForCode(found.ErrorCode)
	}
	return found.Offset, kerr.ErrorForCode(found.ErrorCode)
}

func (c *consumer) beginningAndEnd(ctx context.Context, partition bridge.Partition) (any, error) {
	starts, err := c.franz.admin.ListStartOffsets(ctx, partition.Topic)
	if err != nil {
		return nil, err
	}
	ends, err := c.franz.admin.ListEndOffsets(ctx, partition.Topic)
	if err != nil {
		return nil, err
	}
	start, _ := starts.Lookup(partition.Topic, partition.Index)
	end, _ := ends.Lookup(partition.Topic, partition.Index)
	return [2]int64{start.Offset, end.Offset}, nil
}

func (c *consumer) close(ctx context.Context) error {
	if c.client == nil {
		return nil
	}
	if c.options.AutoCommit && !c.direct {
		if err := c.client.CommitUncommittedOffsets(ctx); err != nil {
			return err
		}
	}
	c.client.Close()
	return nil
}

func (f *franz) Administrate(name string, request *bridge.Request) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	codes := map[string]int16{}
	switch name {
	case "create_topics":
		for topic, wanted := range request.NewTopics() {
			config := map[string]*string{}
			for key, value := range wanted.Config {
				config[key] = &value
			}
			made, err := f.admin.CreateTopic(ctx, wanted.Partitions, 1, config, topic)
			if err != nil && made.Err == nil {
				return nil, err
			}
			codes[topic] = code(made.Err)
		}
		return codes, nil
	case "delete_topics":
		deleted, err := f.admin.DeleteTopics(ctx, request.Names()...)
		for topic, one := range deleted {
			codes[topic] = code(one.Err)
		}
		return codes, err
	case "create_partitions":
		for topic, total := range request.Totals {
			grown, err := f.admin.UpdatePartitions(ctx, int(total), topic)
			if err != nil {
				return nil, err
			}
			codes[topic] = code(grown[topic].Err)
		}
		return codes, nil
	case "list_topics":
		topics, err := f.admin.ListTopics(ctx)
		return topics.Names(), err
	case "describe_topic":
		return f.describeTopic(ctx, request.Topic)
	case "describe_cluster":
		return f.describeCluster(ctx)
	case "config":
		return f.config(ctx, request)
	case "alter_config":
		return nil, f.alterConfig(ctx, request)
	case "list_groups":
		groups, err := f.admin.ListGroups(ctx)
		return groups.Groups(), err
	case "describe_group":
		return f.describeGroup(ctx, request.Group)
	case "delete_group":
		deleted, err := f.admin.DeleteGroups(ctx, request.Group)
		codes[request.Group] = code(deleted[request.Group].Err)
		return codes, err
	}
	return nil, fmt.Errorf("no call %s", name)
}

func (f *franz) describeTopic(ctx context.Context, name string) (any, error) {
	topics, err := f.admin.ListTopics(ctx, name)
	if err != nil {
		return nil, err
	}
	partitions := []any{}
	for _, one := range topics[name].Partitions {
		partitions = append(partitions, map[string]any{
			"partition": one.Partition, "leader": one.Leader, "replicas": one.Replicas, "isr": one.ISR,
		})
	}
	return partitions, nil
}

func (f *franz) describeCluster(ctx context.Context) (any, error) {
	cluster, err := f.admin.BrokerMetadata(ctx)
	if err != nil {
		return nil, err
	}
	brokers := []any{}
	for _, one := range cluster.Brokers {
		brokers = append(brokers, map[string]any{
			"id": one.NodeID, "address": fmt.Sprintf("%s:%d", one.Host, one.Port),
		})
	}
	return map[string]any{
		"cluster_id": cluster.Cluster, "controller": cluster.Controller, "brokers": brokers,
	}, nil
}

func (f *franz) config(ctx context.Context, request *bridge.Request) (any, error) {
	var found kadm.ResourceConfigs
	var err error
	if request.Kind == "topic" {
		found, err = f.admin.DescribeTopicConfigs(ctx, request.Name)
	} else {
		var id int32
		fmt.Sscan(request.Name, &id)
		found, err = f.admin.DescribeBrokerConfigs(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	entries := map[string]any{}
	for _, entry := range found[0].Configs {
		entries[entry.Key] = []any{entry.Value, entry.Source == kmsg.ConfigSourceDynamicTopicConfig}
	}
	return entries, found[0].Err
}

func (f *franz) alterConfig(ctx context.Context, request *bridge.Request) error {
	changes := []kadm.AlterConfig{}
	for key, value := range request.Config {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: &value})
	}
	var altered kadm.AlterConfigsResponses
	var err error
	if request.Kind == "topic" {
		altered, err = f.admin.AlterTopicConfigs(ctx, changes, request.Name)
	} else {
		var id int32
		fmt.Sscan(request.Name, &id)
		altered, err = f.admin.AlterBrokerConfigs(ctx, changes, id)
	}
	if err != nil {
		return err
	}
	return altered[0].Err
}

func (f *franz) describeGroup(ctx context.Context, name string) (any, error) {
	groups, err := f.admin.DescribeGroups(ctx, name)
	if err != nil {
		return nil, err
	}
	members := [][]bridge.Partition{}
	for _, member := range groups[name].Members {
		assigned := []bridge.Partition{}
		if assignment, ok := member.Assigned.AsConsumer(); ok {
			for _, topic := range assignment.Topics {
				for _, index := range topic.Partitions {
					assigned = append(assigned, bridge.Partition{Topic: topic.Topic, Index: index})
				}
			}
		}
		sort.Slice(assigned, func(i, j int) bool { return assigned[i].Index < assigned[j].Index })
		members = append(members, assigned)
	}
	return map[string]any{"state": groups[name].State, "members": members}, groups[name].Err
}
