package sql

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	"github.com/tidemill/tidemill/internal/kafkalog"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// Log keeps the statements that made the catalog, so that a restarted process can
// make it again. Its methods are called one at a time.
type Log interface {
	// Append stores a command and returns when it is durable.
	Append(ctx context.Context, command []byte) error
	// Replay hands over all commands in the order they were appended.
	Replay(ctx context.Context, visit func(command []byte) error) error
}

// command is what the log keeps of a statement. Everything that was looked up when
// it was first executed is in it: a replay asks neither brokers nor registries.
type command struct {
	Sequence   int               `json:"sequence"`
	Statement  string            `json:"statement"`
	QueryID    string            `json:"queryId,omitempty"`
	Source     *sourceSpec       `json:"source,omitempty"`
	Properties map[string]string `json:"properties,omitempty"`
}

// sourceSpec is a source as the log keeps it.
type sourceSpec struct {
	Name      string       `json:"name"`
	Table     bool         `json:"table,omitempty"`
	ReadOnly  bool         `json:"readOnly,omitempty"`
	Topic     string       `json:"topic"`
	KeyFormat string       `json:"keyFormat"`
	Format    string       `json:"valueFormat"`
	CDC       bool         `json:"cdc,omitempty"`
	KeyStruct bool         `json:"keyStruct,omitempty"`
	Bare      bool         `json:"bare,omitempty"`
	Window    *windowSpec  `json:"window,omitempty"`
	Time      *timeSpec    `json:"timestamp,omitempty"`
	Columns   []columnSpec `json:"columns"`
}

type windowSpec struct {
	Kind string `json:"kind"`
	Size int64  `json:"size,omitempty"`
}

type timeSpec struct {
	Column string `json:"column"`
	Format string `json:"format,omitempty"`
}

type columnSpec struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Key    bool   `json:"key,omitempty"`
	Header string `json:"header,omitempty"`
}

func (s *source) spec() *sourceSpec {
	out := &sourceSpec{Name: s.name, Table: s.table, ReadOnly: s.readOnly, Topic: s.topic, KeyFormat: s.keyFormat, Format: s.format,
		CDC: s.cdc, KeyStruct: s.keyStruct, Bare: s.bare}
	if w := s.windowing; w != nil {
		out.Window = &windowSpec{Kind: w.kind, Size: w.size}
	}
	if t := s.timestamp; t != nil {
		out.Time = &timeSpec{Column: t.column, Format: t.format}
	}
	for _, c := range s.columns {
		out.Columns = append(out.Columns, columnSpec{Name: c.name, Type: c.typ.String(), Key: c.key, Header: c.header})
	}
	return out
}

// source makes the source of a spec again.
func (s *sourceSpec) source(statement string) (*source, error) {
	out := &source{name: s.Name, table: s.Table, readOnly: s.ReadOnly, topic: s.Topic, keyFormat: s.KeyFormat, format: s.Format,
		cdc: s.CDC, keyStruct: s.KeyStruct, bare: s.Bare, statement: statement}
	if w := s.Window; w != nil {
		out.windowing = &windowing{kind: w.Kind, size: w.Size}
	}
	if t := s.Time; t != nil {
		out.timestamp = &timestamp{column: t.Column, format: t.Format}
	}
	for _, c := range s.Columns {
		t, err := parseType(c.Type)
		if err != nil {
			return nil, fmt.Errorf("column %s of %s: %w", c.Name, s.Name, err)
		}
		out.columns = append(out.columns, column{name: c.Name, typ: t, key: c.Key, header: c.Header})
	}
	return out, nil
}

// parseType reads a type by itself.
func parseType(text string) (functions.Type, error) {
	toks, err := lex(text)
	if err != nil {
		return functions.Type{}, err
	}
	p := &parser{src: text, toks: toks}
	t, err := p.dataType()
	if err == nil && p.peek().kind != eof {
		err = p.unexpected()
	}
	return t, err
}

func (c *command) encode() ([]byte, error) { return json.Marshal(c) }

func decodeCommand(b []byte) (*command, error) {
	c := &command{}
	if err := json.Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("a command of the statement log cannot be read: %w", err)
	}
	return c, nil
}

// KafkaLog is a Log in a compacted topic: each command under its own key. Open it
// with OpenKafkaLog and close it at the end.
type KafkaLog struct {
	log  *kafkalog.Log
	kept map[string][]byte // filled while the log is opened; not touched after
	next int
}

const commandPrefix = "command/"

// OpenKafkaLog opens the topic that config names; config.Apply is set here. The log
// is meant for one writing process.
func OpenKafkaLog(ctx context.Context, config kafkalog.Config) (*KafkaLog, error) {
	l := &KafkaLog{kept: map[string][]byte{}}
	opening := true
	config.Partitions, config.ExactPartitions = 1, true
	config.Apply = func(r kafkalog.Record) {
		if opening && strings.HasPrefix(string(r.Key), commandPrefix) && r.Value != nil {
			l.kept[string(r.Key)] = r.Value
		}
	}
	var err error
	if l.log, err = kafkalog.Open(ctx, config); err != nil {
		return nil, err
	}
	opening = false
	for k := range l.kept {
		var n int
		if _, err := fmt.Sscanf(k, commandPrefix+"%d", &n); err == nil && n >= l.next {
			l.next = n + 1
		}
	}
	return l, nil
}

// Append implements Log.
func (l *KafkaLog) Append(ctx context.Context, c []byte) error {
	if err := l.log.Put(ctx, kafkalog.Entry{Key: fmt.Appendf(nil, commandPrefix+"%012d", l.next), Value: c}); err != nil {
		return err
	}
	l.next++
	return nil
}

// Replay implements Log.
func (l *KafkaLog) Replay(_ context.Context, visit func(c []byte) error) error {
	keys := make([]string, 0, len(l.kept))
	for k := range l.kept {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		if err := visit(l.kept[k]); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the connections.
func (l *KafkaLog) Close() { l.log.Close() }
