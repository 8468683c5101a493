package sql

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams"
	rows "github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/sql/functions"
	"github.com/tidemill/tidemill/streams/topics"
)

// Topics is what the Engine needs of the brokers' topics; *topics.Client has it.
type Topics interface {
	// Partitions returns how many partitions a topic has, 0 when there is none.
	Partitions(ctx context.Context, topic string) (int, error)
	// Create makes a topic; one that is there already is left as it is.
	Create(ctx context.Context, s topics.Spec) error
	// Delete removes topics; one that is not there is no error.
	Delete(ctx context.Context, names ...string) error
	// List returns the names of all topics.
	List(ctx context.Context) ([]string, error)
}

// Records reads and writes topics outside of persistent queries; *topics.Client
// has it.
type Records interface {
	// Produce writes records and returns when they are acknowledged.
	Produce(ctx context.Context, rs ...*topics.Record) error
	// Read visits the committed records of a topic, until visit wants no more.
	Read(ctx context.Context, topic string, extent topics.Extent, visit func(*topics.Record) (more bool, err error)) error
	// Spans tells where the partitions of topics begin and end.
	Spans(ctx context.Context, names ...string) (map[string]map[int32]topics.Span, error)
	// ReadSpan visits committed records from some offsets to others, or for ever.
	ReadSpan(ctx context.Context, from, to map[string]map[int32]int64, visit func([]*topics.Record) (more bool, err error)) error
}

// Runner runs the topologies of persistent queries; *streams.Engine has it.
type Runner interface {
	// Add starts an application.
	Add(a streams.App) error
	// Remove stops an application; with reset its offsets, internal topics and
	// state are removed too.
	Remove(ctx context.Context, id string, reset bool) error
	// State tells how an application is doing, and the error that stopped it.
	State(id string) (streams.State, error)
	// Rows reads a store of an application.
	Rows(ctx context.Context, id, store string) (*rows.Rows, error)
}

// Pauser is the ability of a Runner to hold an application for a while;
// *streams.Engine has it.
type Pauser interface {
	// Pause stops an application from taking in records.
	Pause(id string) error
	// Resume lets it go on.
	Resume(id string) error
}

// SchemaSource tells the schemas of topics, from a registry.
type SchemaSource interface {
	// Schema returns the newest schema of a topic's keys or values, and false when
	// there is none.
	Schema(ctx context.Context, topic string, key bool) (*connect.Schema, bool, error)
}

// Connectors runs connectors for CREATE CONNECTOR.
type Connectors interface {
	// Create makes a connector.
	Create(ctx context.Context, name string, config map[string]string) error
	// Drop removes one.
	Drop(ctx context.Context, name string) error
	// List returns the connectors' names, type (source or sink), class and state.
	List(ctx context.Context) ([]ConnectorInfo, error)
}

// ConnectorInfo is what SHOW CONNECTORS tells of one.
type ConnectorInfo struct {
	Name      string `json:"name"`
	Type      string `json:"type"`
	ClassName string `json:"className"`
	State     string `json:"state"`
}

// Config says what an Engine works with. Service, Topics, Records, Runner, Log and
// Formats are required.
type Config struct {
	// Service stands in the names of applications: <Service>-query-<query id>.
	Service string
	Topics  Topics
	Records Records
	Runner  Runner
	Log     Log
	// Formats are the formats there are besides KAFKA and NONE, by their names in
	// upper case.
	Formats map[string]Format
	// Schemas is asked for columns that are not declared; nil when there is no
	// registry.
	Schemas SchemaSource
	// Connectors runs connectors; nil when there are none to be had.
	Connectors Connectors
	// Standbys is how many copies of each query's tables other processes keep, for
	// queries whose properties do not say it (num.standby.replicas).
	Standbys int
	// MaxLag lets a copy answer pull queries that lacks at most so many changes of its
	// table. Without it only the process answers that runs the query's task.
	MaxLag int64
	// Functions are those that statements can call; nil for functions.Builtin().
	Functions *functions.Library
	// Logger is told of rows that could not be computed; nil for nobody.
	Logger *slog.Logger
}

// Engine executes statements and answers queries. It may be used by any number of
// goroutines; statements that change the catalog are executed one at a time.
type Engine struct {
	config Config

	changing sync.Mutex // held while a statement changes the catalog

	mu       sync.RWMutex // guards the following
	catalog  *catalog
	sequence int
	pushes   int
	settings map[string]string
}

// Open returns an Engine with the catalog its log describes; the persistent
// queries of the catalog are started, and one that cannot be is in state ERROR.
// ctx bounds the opening alone.
func Open(ctx context.Context, config Config) (*Engine, error) {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Engine{config: config, catalog: newCatalog(), settings: map[string]string{}}
	e.catalog.library = config.Functions
	err := config.Log.Replay(ctx, func(b []byte) error {
		c, err := decodeCommand(b)
		if err != nil {
			return err
		}
		if err := e.replay(c); err != nil {
			return fmt.Errorf("replaying %q: %w", c.Statement, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, id := range e.catalog.queryIDs() {
		// One query that cannot run must not keep the others from running.
		q := e.catalog.queries[id]
		if q.fault = e.start(q); q.fault != nil {
			config.Logger.Error("a query could not be started", "query", id, "error", q.fault)
		}
	}
	return e, nil
}

// Close stops all persistent queries; they go on where they are when the Engine is
// opened again.
func (e *Engine) Close(ctx context.Context) error {
	e.changing.Lock()
	defer e.changing.Unlock()
	var err error
	for _, id := range e.catalog.queryIDs() {
		if e.catalog.queries[id].started.Load() {
			err = errors.Join(err, e.config.Runner.Remove(ctx, e.app(id), false))
		}
	}
	return err
}

// Request is a script to execute, with the properties and variables of the
// caller's session.
type Request struct {
	Text       string
	Properties map[string]string
	// Variables are what ${name} stands for, by their names in upper case.
	Variables map[string]string
	// Arguments are what $1 and so on stand for in a text of one statement.
	Arguments []Argument
}

// Apply executes a SET, UNSET, DEFINE or UNDEFINE on the request, for callers whose
// session is longer than one request.
func (r *Request) Apply(text string) error {
	s := newSession(*r)
	stmt, text, err := s.statement(Fragment{Text: text})
	if err != nil {
		return err
	}
	st, ok := stmt.(*set)
	if !ok {
		return fault(text, span{0, len(text)}, "sql.use_execute", "this statement sets nothing", "send it to the statement endpoint")
	}
	if _, err := s.set(st); err != nil {
		return err
	}
	r.Properties, r.Variables = s.properties, s.variables
	return nil
}

// session is what the statements of one request share: SET and DEFINE change it.
type session struct {
	properties map[string]string
	variables  map[string]string
	args       []Argument
}

func newSession(r Request) *session {
	s := &session{properties: map[string]string{}, variables: map[string]string{}, args: r.Arguments}
	for k, v := range r.Properties {
		s.properties[k] = v
	}
	for k, v := range r.Variables {
		s.variables[upper(k)] = v
	}
	return s
}

// replaceVariables puts the values of ${name} into a statement. Unknown ones stay.
func (s *session) replaceVariables(text string) string {
	var b strings.Builder
	for {
		i := strings.Index(text, "${")
		if i < 0 {
			b.WriteString(text)
			return b.String()
		}
		j := strings.IndexByte(text[i:], '}')
		if j < 0 {
			b.WriteString(text)
			return b.String()
		}
		v, ok := s.variables[upper(text[i+2:i+j])]
		if !ok {
			v = text[i : i+j+1]
		}
		b.WriteString(text[:i] + v)
		text = text[i+j+1:]
	}
}

// statements cuts a request into statements with their variables replaced. Faults
// are placed in the whole script.
func (s *session) statement(f Fragment) (Statement, string, error) {
	text := s.replaceVariables(f.Text)
	stmt, err := parseOne(text, &binding{args: s.args})
	return stmt, text, err
}

// failed is told of rows and expressions that a query cannot compute.
func (e *Engine) failed(id string) func(error) {
	var last time.Time
	var mu sync.Mutex
	return func(err error) {
		mu.Lock()
		defer mu.Unlock()
		// A fault of every row must not fill the log.
		if now := time.Now(); now.Sub(last) > time.Second {
			last = now
			e.config.Logger.Warn("an expression could not be computed and is null", "query", id, "error", err)
		}
	}
}

// app names the application of a persistent query.
func (e *Engine) app(id string) string { return e.config.Service + "-query-" + id }
