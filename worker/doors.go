package worker

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// door is what goes to and comes from a source task beside its records: signals that
// users send it, and documents it shows.
type door struct {
	signals chan []byte

	mu        sync.Mutex // Guards what follows.
	open      bool
	documents map[string]json.RawMessage
}

// doors are those of a worker's tasks. What a task has shown stays to be seen when it
// fails, and goes with the task.
type doors struct {
	mu   sync.Mutex // Guards what follows.
	byID byTask[*door]
}

// signalsWaiting is how many signals may wait for a task.
const signalsWaiting = 64

// of returns a task's door, making it when there is none.
func (d *doors) of(id TaskID) *door {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byID == nil {
		d.byID = byTask[*door]{}
	}
	made, ok := d.byID.of(id)
	if !ok {
		made = &door{signals: make(chan []byte, signalsWaiting), documents: map[string]json.RawMessage{}}
		d.byID.put(id, made)
	}
	return made
}

// find returns a task's door, nil when there is none.
func (d *doors) find(id TaskID) *door {
	d.mu.Lock()
	defer d.mu.Unlock()
	found, _ := d.byID.of(id)
	return found
}

// forget drops the doors of a connector's tasks from the given number on.
func (d *doors) forget(name string, from int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.byID.forget(name, from)
}

// show is the task's side: see connect.SourceTaskEnv.Show. A document that is no JSON
// is a fault of the plugin and not shown.
func (d *door) show(name string, document []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if document == nil {
		delete(d.documents, name)
	} else if json.Valid(document) {
		d.documents[name] = slices.Clone(document)
	}
}

func (d *door) shown() map[string]json.RawMessage {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.documents)
}

// enter tells whether the task runs, which is when it takes signals. Those that a
// former life of the task left are dropped: their senders know that it ended.
func (d *door) enter(open bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = open
	for len(d.signals) > 0 {
		<-d.signals
	}
}

// send hands the task a signal.
func (d *door) send(id TaskID, signal []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.open {
		return &connect.Error{
			Code: "task.not_running", Class: connect.ClassRetriable, Place: id.String(), Message: "The task does not run, so it takes no signals",
			Mend: "start or resume the connector, and look at GET /connectors/" + id.Connector + "/status",
		}
	}
	select {
	case d.signals <- signal:
		return nil
	default:
	}
	return &connect.Error{
		Code: "task.busy", Class: connect.ClassRetriable, Place: id.String(),
		Message: "The task has not taken the signals sent before", Mend: "send this one again later",
	}
}

// stateDir is where a task may keep files on this machine: below plugin.state.dir, or
// below the user's cache.
func (rt *runtime) stateDir(id TaskID) string {
	base := rt.settings.String("plugin.state.dir")
	if base == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return ""
		}
		base = filepath.Join(cache, "tidemill", url.PathEscape(rt.groupID))
	}
	return filepath.Join(base, "connector-"+url.PathEscape(id.Connector), strconv.Itoa(id.Task))
}

// consume is the task's reader of topics: see connect.SourceTaskEnv.Consume.
func (t *sourceTask) consume(ctx context.Context, settings connect.Config, topic, group string, each func(key, value []byte) error) error {
	props := connect.Config{}
	if settings["bootstrap.servers"] == "" {
		props = clientProps(t.rt.raw, consumerClient, t.config)
	}
	maps.Copy(props, settings)
	place := t.memberOf(group, props)
	opts, err := t.rt.client(consumerClient, props, t.log)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(append(opts, kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group), kgo.DisableAutoCommit())...)
	if err != nil {
		return err
	}
	defer func() { place.leave(client, !t.abandoned(), t.log) }()
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		for _, r := range fetches.Records() {
			if err := each(r.Key, r.Value); err != nil {
				return err
			}
			if err := client.CommitRecords(ctx, r); err != nil && ctx.Err() == nil {
				return brokerError("kafka.consume", "the place in "+topic+" cannot be stored", err)
			}
		}
		for _, f := range fetches.Errors() {
			if ctx.Err() == nil && !errors.Is(f.Err, context.Canceled) {
				return brokerError("kafka.consume", "the topic "+topic+" cannot be read", f.Err)
			}
		}
	}
	return nil
}
