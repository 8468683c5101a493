package avro

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// Registry is a schema registry as the converter needs it. Its methods are called
// from any goroutine, return when their context is done at the latest, and return a
// [connect.Error] that tells whether to try again.
type Registry interface {
	// Register stores a schema under a subject and returns its id, which is that of
	// an equal schema if there is one.
	Register(ctx context.Context, subject, schema string) (id int, err error)
	// Lookup returns the id of a schema that a subject has.
	Lookup(ctx context.Context, subject, schema string) (id int, err error)
	// Version returns a subject's schema; version 0 is the latest.
	Version(ctx context.Context, subject string, version int) (Stored, error)
	// ByID returns the schema with that id.
	ByID(ctx context.Context, id int) (Stored, error)
}

// Stored is a schema as the registry keeps it.
type Stored struct {
	ID     int
	Schema string
	// Type is the schema's language, empty for Avro.
	Type string
	// References are the schemas, by subject and version, whose types it names.
	References []Reference
}

// Reference names one version of a subject.
type Reference struct {
	Subject string
	Version int
}

// Client asks a registry, remembers what never changes (which schema has which id),
// asks once for what several want at the same time, and asks again after passing
// failures. It may be used by any number of goroutines.
type Client struct {
	registry Registry
	backoff  backoff
	mapping  mapping

	mu     sync.Mutex
	ids    map[registration]int
	byID   map[int]*node
	absent map[int]time.Time // Ids the registry did not know, and until when to believe it.
	calls  map[any]*call
}

// registration is a schema under a subject.
type registration struct {
	subject, schema string
	register        bool
}

// call is a request on its way, which others may wait for.
type call struct {
	done chan struct{}
	id   int
	node *node
	err  error
}

const (
	// maxRemembered bounds what the client remembers of each sort.
	maxRemembered = 10_000
	// absence is how long an unknown id is not asked for again, so that a topic full
	// of foreign records does not become a flood of requests.
	absence = 10 * time.Second
	// maxReferences bounds the schemas that one schema may need.
	maxReferences = 200
)

// NewRegistry returns a client for the registry that the settings name: those of
// the converter, such as schema.registry.url.
func NewRegistry(config connect.Config) (*Client, error) {
	s, err := configDef().Parse(config)
	if err != nil {
		return nil, err
	}
	return newClient(s, nil)
}

func newClient(s connect.Settings, dial Dial) (*Client, error) {
	web, err := newWeb(s, dial)
	if err != nil {
		return nil, err
	}
	c := clientOf(web)
	c.mapping = readMapping(s)
	c.backoff = backoff{s.Int("max.retries"), s.Duration("retries.wait.ms"), s.Duration("retries.max.wait.ms")}
	return c, nil
}

// clientOf returns a client over any registry.
func clientOf(r Registry) *Client {
	return &Client{
		registry: r, mapping: mapping{metadata: true, flatten: true},
		ids: map[registration]int{}, byID: map[int]*node{}, absent: map[int]time.Time{}, calls: map[any]*call{},
	}
}

// LatestSchema returns the latest schema of a subject as Connect sees it, and its
// id. The error's code is "registry.not_found" when there is no such subject. What
// is latest is asked anew each time.
func (c *Client) LatestSchema(ctx context.Context, subject string) (*connect.Schema, int, error) {
	n, id, err := c.latest(ctx, subject)
	if err != nil {
		return nil, 0, err
	}
	s, err := c.mapping.toConnect(n)
	if err != nil {
		return nil, 0, unreadable(subject, err)
	}
	return s, id, nil
}

// Close lets go of idle connections.
func (c *Client) Close() {
	if r, ok := c.registry.(interface{ close() }); ok {
		r.close()
	}
}

// latest returns the latest schema of a subject.
func (c *Client) latest(ctx context.Context, subject string) (*node, int, error) {
	var id int
	var n *node
	err := c.retry(ctx, func() error {
		stored, err := c.registry.Version(ctx, subject, 0)
		if err == nil {
			id = stored.ID
			n, err = c.parse(ctx, stored)
		}
		return err
	})
	return n, id, err
}

// id returns the id of a schema under a subject, registering it if asked to.
func (c *Client) id(ctx context.Context, r registration) (int, error) {
	c.mu.Lock()
	id, ok := c.ids[r]
	c.mu.Unlock()
	if ok {
		return id, nil
	}
	got, err := c.once(ctx, r, func(call *call) error {
		var err error
		if r.register {
			call.id, err = c.registry.Register(ctx, r.subject, r.schema)
		} else {
			call.id, err = c.registry.Lookup(ctx, r.subject, r.schema)
		}
		return err
	}, func(call *call) {
		if len(c.ids) >= maxRemembered {
			clear(c.ids)
		}
		c.ids[r] = call.id
	})
	return got.id, err
}

// schema returns the schema with that id.
func (c *Client) schema(ctx context.Context, id int) (*node, error) {
	c.mu.Lock()
	n, until := c.byID[id], c.absent[id]
	c.mu.Unlock()
	if n != nil {
		return n, nil
	}
	if time.Now().Before(until) {
		return nil, unknownID(id)
	}
	got, err := c.once(ctx, id, func(call *call) error {
		stored, err := c.registry.ByID(ctx, id)
		if err == nil {
			call.node, err = c.parse(ctx, stored)
		}
		return err
	}, func(call *call) {
		if len(c.byID) >= maxRemembered {
			clear(c.byID)
		}
		c.byID[id] = call.node
	})
	if e := connect.AsError(err); e != nil && e.Code == codeNotFound {
		c.mu.Lock()
		if len(c.absent) >= maxRemembered {
			clear(c.absent)
		}
		c.absent[id] = time.Now().Add(absence)
		c.mu.Unlock()
		return nil, unknownID(id)
	}
	return got.node, err
}

// once makes a request that others may wait for, and keeps its result. If whoever
// made it gives up, a waiter makes it again.
func (c *Client) once(ctx context.Context, key any, ask func(*call) error, keep func(*call)) (*call, error) {
	for {
		c.mu.Lock()
		running := c.calls[key]
		if running == nil {
			running = &call{done: make(chan struct{})}
			c.calls[key] = running
			c.mu.Unlock()
			running.err = c.retry(ctx, func() error { return ask(running) })
			c.mu.Lock()
			delete(c.calls, key)
			if running.err == nil {
				keep(running)
			}
			c.mu.Unlock()
			close(running.done)
			return running, running.err
		}
		c.mu.Unlock()
		select {
		case <-running.done:
			if running.err == nil || !errors.Is(running.err, context.Canceled) && !errors.Is(running.err, context.DeadlineExceeded) {
				return running, running.err
			}
		case <-ctx.Done():
			return running, canceled(ctx)
		}
	}
}

// canceled is the error of a request whose caller has no more time for it.
func canceled(ctx context.Context) error {
	return &connect.Error{
		Code: "registry.unavailable", Class: connect.ClassRetriable, Cause: context.Cause(ctx),
		Message: "the schema registry was asked, but there was no time to wait for its answer",
		Mend:    "look whether the registry at schema.registry.url is running",
	}
}

// retry makes a request again while its error says that this may help. Waits grow
// twofold and are spread, so that many tasks do not ask in step.
func (c *Client) retry(ctx context.Context, request func() error) error {
	pause := c.backoff.first
	for attempt := 0; ; attempt++ {
		err := request()
		e := connect.AsError(err)
		if e == nil || e.Class != connect.ClassRetriable || attempt >= c.backoff.retries {
			return err
		}
		w := pause/2 + rand.N(pause/2+1)
		if e.After > 0 {
			w = e.After
		}
		timer := time.NewTimer(min(w, max(c.backoff.most, time.Millisecond)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
		pause = min(2*pause, c.backoff.most)
	}
}

// parse reads a schema and those it refers to.
func (c *Client) parse(ctx context.Context, stored Stored) (*node, error) {
	if stored.Type != "" && stored.Type != "AVRO" {
		return nil, &connect.Error{
			Code: "registry.not_avro", Class: connect.ClassRecord, Place: fmt.Sprintf("schema id %d", stored.ID),
			Message: "the schema is of type " + stored.Type + ", not AVRO", Mend: "use the converter this topic is written with",
		}
	}
	p := parser{}
	if err := c.references(ctx, &p, stored.References, map[Reference]bool{}); err != nil {
		return nil, err
	}
	n, err := p.parse(stored.Schema)
	if err != nil {
		return nil, unreadable(fmt.Sprintf("schema id %d", stored.ID), err)
	}
	return n, nil
}

// references reads the schemas that others refer to, those they refer to first.
func (c *Client) references(ctx context.Context, p *parser, refs []Reference, seen map[Reference]bool) error {
	for _, ref := range refs {
		if seen[ref] {
			continue
		}
		if seen[ref] = true; len(seen) > maxReferences {
			return unreadable(ref.Subject, fmt.Errorf("it refers to more than %d schemas", maxReferences))
		}
		stored, err := c.registry.Version(ctx, ref.Subject, ref.Version)
		if err != nil {
			return err
		}
		if err := c.references(ctx, p, stored.References, seen); err != nil {
			return err
		}
		if _, err := p.parse(stored.Schema); err != nil {
			return unreadable(ref.Subject, err)
		}
	}
	return nil
}

func unknownID(id int) error {
	return &connect.Error{
		Code: "registry.unknown_id", Class: connect.ClassRecord, Place: fmt.Sprintf("schema id %d", id),
		Message: "the registry has no schema with this id",
		Mend:    "check that schema.registry.url is the registry the records were written with",
	}
}

func unreadable(place string, cause error) error {
	return &connect.Error{
		Code: "avro.schema", Class: connect.ClassRecord, Place: place, Cause: cause,
		Message: "the schema cannot be used", Mend: "use a schema that Connect's types can express, or another converter",
	}
}
