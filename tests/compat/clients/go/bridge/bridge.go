// Package bridge reads what bridge.py asks for, one line of JSON a request, and writes the answers.
package bridge

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
)

// Partition is a topic and a number.
type Partition struct {
	Topic string
	Index int32
}

// UnmarshalJSON reads ["topic", 0].
func (p *Partition) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[]any{&p.Topic, &p.Index})
}

// MarshalJSON writes ["topic", 0].
func (p Partition) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{p.Topic, p.Index})
}

// Header is a record's header; a nil value is null.
type Header struct {
	Key   string
	Value []byte
}

// UnmarshalJSON reads ["key", "base64"].
func (h *Header) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[]any{&h.Key, &h.Value})
}

// MarshalJSON writes ["key", "base64"].
func (h Header) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{h.Key, h.Value})
}

// Record is one to be produced.
type Record struct {
	Key       []byte   `json:"key"`
	Value     []byte   `json:"value"`
	Headers   []Header `json:"headers"`
	Timestamp *int64   `json:"timestamp"`
	Partition *int32   `json:"partition"`
}

// Message is one that was consumed.
type Message struct {
	Topic         string   `json:"topic"`
	Partition     int32    `json:"partition"`
	Offset        int64    `json:"offset"`
	Key           []byte   `json:"key"`
	Value         []byte   `json:"value"`
	Headers       []Header `json:"headers"`
	Timestamp     int64    `json:"timestamp"`
	TimestampType string   `json:"timestamp_type"`
}

// Polled is what a poll brings: messages, and the partitions that were taken away since the last one.
type Polled struct {
	Messages []Message `json:"messages"`
	Revoked  []int32   `json:"revoked"`
}

// Options are those of a producer or a consumer.
type Options struct {
	Acks        string `json:"acks"`
	Compression string `json:"compression"`
	Idempotent  bool   `json:"idempotent"`
	MaxBytes    int32  `json:"max_bytes"`
	Reset       string `json:"reset"`
	AutoCommit  bool   `json:"auto_commit"`
	SessionMs   int    `json:"session_ms"`
	InstanceID  string `json:"instance_id"`
	Strategy    string `json:"strategy"`
	AutoCreate  bool   `json:"auto_create"`
	// CommittedOnly leaves out what transactions have open or gave up.
	CommittedOnly bool `json:"committed_only"`
}

// NewTopic is a topic to be made.
type NewTopic struct {
	Partitions int32             `json:"partitions"`
	Config     map[string]string `json:"config"`
}

// Request has every argument of every call.
type Request struct {
	ID              int               `json:"id"`
	Call            string            `json:"call"`
	Consumer        int               `json:"consumer"`
	Producer        int               `json:"producer"`
	Topic           string            `json:"topic"`
	Records         []Record          `json:"records"`
	Options         Options           `json:"options"`
	Group           string            `json:"group"`
	Partition       Partition         `json:"partition"`
	Partitions      []Partition       `json:"partitions"`
	Pattern         string            `json:"pattern"`
	Seconds         float64           `json:"seconds"`
	Offset          int64             `json:"offset"`
	Metadata        string            `json:"metadata"`
	Timestamp       int64             `json:"timestamp"`
	Totals          map[string]int32  `json:"totals"`
	Kind            string            `json:"kind"`
	Name            string            `json:"name"`
	Topics          json.RawMessage   `json:"topics"`
	Values          [][]byte          `json:"values"`
	Config          map[string]string `json:"config"`
	TransactionalID string            `json:"transactional_id"`
}

// Names reads `topics` as a list of names.
func (r *Request) Names() (names []string) {
	_ = json.Unmarshal(r.Topics, &names)
	return names
}

// NewTopics reads `topics` as topics to be made.
func (r *Request) NewTopics() (topics map[string]NewTopic) {
	_ = json.Unmarshal(r.Topics, &topics)
	return topics
}

// Consumer does what its methods' names say.
type Consumer interface {
	Call(name string, request *Request) (any, error)
}

// Transactions is a transactional producer: it does what its methods' names say; a consumer is there for its group.
type Transactions interface {
	Call(name string, request *Request, consumer Consumer) (any, error)
}

// Transactional is a client that has transactions.
type Transactional interface {
	NewTransactions(transactionalID string) (Transactions, error)
}

// Client is a client library behind a bridge.
type Client interface {
	Version() string
	Produce(request *Request) (any, error)
	NewConsumer(group string, options Options) (Consumer, error)
	Administrate(name string, request *Request) (any, error)
	// Code is the broker's error code in an error, if it is the broker's.
	Code(err error) (int16, bool)
}

type answer struct {
	ID     int            `json:"id"`
	Result any            `json:"result"`
	Error  map[string]any `json:"error,omitempty"`
}

type server struct {
	client    Client
	lock      sync.Mutex
	consumers map[int]Consumer
	producers map[int]Transactions
}

// Serve answers until stdin ends, and then ends the process at once.
func Serve(client Client) {
	s := &server{client: client, consumers: map[int]Consumer{}, producers: map[int]Transactions{}}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		request := &Request{}
		if err := json.Unmarshal(lines.Bytes(), request); err != nil {
			fmt.Fprintln(os.Stderr, err)
			continue
		}
		go s.answer(request)
	}
	os.Exit(0)
}

func (s *server) answer(request *Request) {
	result, err := s.call(request)
	given := answer{ID: request.ID, Result: result}
	if err != nil {
		if code, ok := s.client.Code(err); ok {
			given.Error = map[string]any{"code": code}
		} else {
			given.Error = map[string]any{"text": request.Call + ": " + err.Error()}
		}
	}
	line, err := json.Marshal(given)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	os.Stdout.Write(append(line, '\n'))
}

func (s *server) call(request *Request) (any, error) {
	switch name := request.Call; {
	case name == "version":
		return s.client.Version(), nil
	case name == "produce":
		return s.client.Produce(request)
	case name == "consumer.new":
		consumer, err := s.client.NewConsumer(request.Group, request.Options)
		if err != nil {
			return nil, err
		}
		return kept(s, s.consumers, consumer), nil
	case strings.HasPrefix(name, "consumer."):
		return found(s, s.consumers, request.Consumer).Call(name[len("consumer."):], request)
	case name == "transactions.new":
		transactional, ok := s.client.(Transactional)
		if !ok {
			return nil, errors.New("the client has no transactions")
		}
		producer, err := transactional.NewTransactions(request.TransactionalID)
		if err != nil {
			return nil, err
		}
		return kept(s, s.producers, producer), nil
	case strings.HasPrefix(name, "transactions."):
		producer, consumer := found(s, s.producers, request.Producer), found(s, s.consumers, request.Consumer)
		return producer.Call(name[len("transactions."):], request, consumer)
	default:
		return s.client.Administrate(name[len("admin."):], request)
	}
}

// kept gives a handle for what later requests name.
func kept[T any](s *server, all map[int]T, one T) int {
	s.lock.Lock()
	defer s.lock.Unlock()
	handle := len(all) + 1
	all[handle] = one
	return handle
}

func found[T any](s *server, all map[int]T, handle int) T {
	s.lock.Lock()
	defer s.lock.Unlock()
	return all[handle]
}

// ModuleVersion is the version of a module that this program was built with.
func ModuleVersion(path string) string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == path {
			return module.Version
		}
	}
	return "?"
}
