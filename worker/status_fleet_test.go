package worker

import (
	"log/slog"
	"testing"

	"github.com/tidemill/tidemill/internal/kafkalog"
)

// TestWhoWasSuspendedHasNotTheLastWord lets a worker say that it runs something no more,
// after another was given it and has said that it runs there.
func TestWhoWasSuspendedHasNotTheLastWord(t *testing.T) {
	former, now := newStatusStore("former", slog.New(slog.DiscardHandler)), newStatusStore("now", slog.New(slog.DiscardHandler))
	task := TaskID{Connector: "c", Task: 0}
	former.generation.Store(3)
	former.putConnector("c", "RUNNING", "", "")
	former.putTask(task, "RUNNING", "", "")
	now.generation.Store(4)
	now.putConnector("c", "RUNNING", "", "")
	now.putTask(task, "RUNNING", "", "")
	written := map[string][]byte{}
	for key, value := range now.pending {
		written[key] = value
	}
	clear(now.pending) // They are in the topic, which the former one has not read.

	former.generation.Store(5) // It has joined again, and only then its connector stops.
	former.releaseOwner("c")
	former.release(task)
	if r, _ := former.connector("c"); r.State != stateUnassigned || r.WorkerID != "former" {
		t.Errorf("where it ran: %+v", r)
	}
	for key, value := range former.pending {
		now.apply(kafkalog.Record{Key: []byte(key), Value: value})
	}
	if r, _ := now.connector("c"); r.State != "RUNNING" || r.WorkerID != "now" {
		t.Errorf("the connector: %+v", r)
	}
	if r, _ := now.task(task); r.State != "RUNNING" || r.WorkerID != "now" {
		t.Errorf("the task: %+v", r)
	}
	for key, value := range written {
		if string(now.pending[key]) != string(value) {
			t.Errorf("%s is not written again: %s", key, now.pending[key])
		}
		former.apply(kafkalog.Record{Key: []byte(key), Value: value})
	}
	if r, _ := former.connector("c"); r.State != "RUNNING" || r.WorkerID != "now" {
		t.Errorf("where it ran, later: %+v", r)
	}
}
