package worker

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/kafkalog"
	"github.com/tidemill/tidemill/worker/fleet"
)

// TestAChangeWakesItsConnectorAlone goes through all that can change, and looks at which
// units are told: those of the connectors that it is about, and all of them only when
// workers have come or gone.
func TestAChangeWakesItsConnectorAlone(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	h := newHerder(Options{}, &runtime{statuses: newStatusStore("a:1", log), metrics: newWorkerMetrics(parsed(t, nil)), log: log})
	h.group.member = fleet.NewMember(fleet.Config{})
	h.running = t.Context()
	names := []string{"b", "c", "d"}
	for _, name := range names {
		u := newUnit(h, name) // It does not run, so that it is seen what it is told.
		u.cancel = func() { t.Errorf("%s is ended", name) }
		h.units[name] = u
	}
	woken := func(what string, want ...string) {
		t.Helper()
		h.reconcile()
		var got []string
		for _, name := range slices.Sorted(maps.Keys(h.units)) {
			select {
			case <-h.units[name].wake:
				got = append(got, name)
			default:
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: told are %v, want %v", what, got, want)
		}
	}
	write := func(entries ...kafkalog.Entry) {
		for _, e := range entries {
			h.apply(kafkalog.Record{Key: e.Key, Value: e.Value})
		}
	}
	take := func(s fleet.State) { h.take(context.Background(), s) }

	var work []fleet.Work
	for _, name := range names {
		write(connectorEntry(name, connect.Config{"name": name}))
		work = append(work, connectorWork(name))
	}
	take(fleet.State{Work: work})
	woken("all are given to this worker", names...)
	woken("nothing")

	config := connect.Config{"name": "c", "more": "x"}
	write(connectorEntry("c", config))
	woken("a configuration", "c")
	write(taskEntry(TaskID{"c", 0}, config))
	woken("a task's configuration that does not count yet")
	write(commitEntry("c", 1))
	woken("tasks", "c")
	write(fencingEntry("c", 1), kafkalog.Entry{Key: []byte(sessionKeyName), Value: []byte("{}")}, loggerEntry("x", "DEBUG"), kafkalog.Entry{Key: []byte("else")})
	woken("what is nothing to units")
	write(targetEntry("d", Paused))
	woken("a wish", "d")
	write(restartEntry("b", RestartOptions{IncludeTasks: true}), targetEntry("d", Started))
	woken("a restart and a wish", "b", "d")
	write(connectorEntry("elsewhere", connect.Config{"name": "elsewhere"}))
	woken("a connector of another worker")

	task := append(slices.Clone(work), taskWork(TaskID{"c", 0}))
	take(fleet.State{Work: task})
	woken("a task more", "c")
	take(fleet.State{Work: task, Generation: 9})
	woken("the same work")
	take(fleet.State{Work: work})
	woken("a task less", "c")
	take(fleet.State{Work: append(slices.Clone(work[1:]), taskWork(TaskID{"b", 0}))})
	woken("a task for a connector", "b")
	take(fleet.State{Work: work, Leads: true, URLs: []string{"http://a:1/", "http://z:1/"}})
	woken("this worker leads", names...)
	take(fleet.State{Work: work, Leads: true, URLs: []string{"http://a:1/", "http://z:1/"}})
	woken("it still does")
	take(fleet.State{Work: work, Leads: true, URLs: []string{"http://a:1/"}})
	woken("a worker is gone", names...)
}
