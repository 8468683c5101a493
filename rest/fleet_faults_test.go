package rest_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// without returns the workers that run, but one.
func (f *fleet) without(id string) []string {
	return slices.DeleteFunc(f.ids(), func(other string) bool { return other == id })
}

// TestFleetIsCutOff cuts one worker after another off from the brokers. The others take its
// work over; when it is back it must not write what they have written.
func TestFleetIsCutOff(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	a, b, c := f.start(""), f.start(""), f.start("")
	const connectors = 3
	for i := range connectors {
		f.must(http.StatusCreated, a, "PUT", fmt.Sprintf("/connectors/c%d/config", i), source(i, 50))
	}
	f.waitEven(connectors, a, b, c)
	leader := f.leader()
	for _, victim := range []string{f.other(leader), leader} {
		process := f.members[victim].Process
		_ = process.Signal(syscall.SIGUSR1)
		f.waitEven(connectors, f.without(victim)...)
		_ = process.Signal(syscall.SIGUSR2)
		f.waitEven(connectors, a, b, c)
	}
	f.finish(connectors, func(string, []row) {})
}

// TestFleetSinks has tasks of a sink on several workers, one of which is killed and comes
// back. Every record must be written at least once, and what the tasks show and the signals
// for them must find them wherever they run.
func TestFleetSinks(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	a, b, c := f.start(""), f.start(""), f.start("")
	f.must(http.StatusCreated, a, "PUT", "/connectors/c0/config", `{"connector.class":"tidemill.Datagen","topic":"t0","quickstart":"orders","keys":"0","rate":"100",
		"topic.creation.default.partitions":"6","topic.creation.default.replication.factor":"`+f.replicas()+`"}`)
	out := filepath.Join(f.dir, "out")
	f.must(http.StatusCreated, b, "PUT", "/connectors/sink/config",
		fmt.Sprintf(`{"connector.class":"tidemill.FileSink","tasks.max":"3","topics":"t0","file":%q,"format":"json","consumer.override.session.timeout.ms":"6000"}`, out))
	f.waitSpread("sink", 3, a, b, c)
	for _, id := range []string{a, b, c} {
		var details struct{ Tasks []struct{ ID int } }
		_, text := f.ask(id, "GET", "/connectors/sink/details", "")
		if json.Unmarshal([]byte(text), &details) != nil || len(details.Tasks) != 3 {
			t.Errorf("%s shows %s", id, text)
		}
	}
	f.wait("the sink writes", func() bool { return len(sunk(t, out)) > 0 })
	f.end(b, syscall.SIGKILL)
	f.waitSpread("sink", 3, a, c)
	f.start(b)
	f.waitSpread("sink", 3, a, b, c)
	f.must(http.StatusNoContent, f.other(f.leader()), "PUT", "/connectors/c0/stop", "")
	f.wait("the source has stopped", func() bool {
		var status struct{ Tasks []struct{ ID int } }
		_, text := f.ask(a, "GET", "/connectors/c0/status", "")
		return json.Unmarshal([]byte(text), &status) == nil && len(status.Tasks) == 0
	})
	want := map[string]bool{}
	for _, r := range f.rows("t0") {
		want[fmt.Sprint(r.number)] = true
	}
	f.wait("the sink has written everything", func() bool {
		left := len(want)
		for number := range sunk(t, out) {
			if want[number] {
				left--
			}
		}
		return left == 0
	})
	for _, id := range f.ids() {
		f.end(id, syscall.SIGTERM)
	}
}

// sunk returns the numbers of the rows in a file that a sink has written.
func sunk(t *testing.T, name string) map[string]bool {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		return nil // Nothing was written yet.
	}
	defer file.Close()
	numbers := map[string]bool{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			Value struct{ Source struct{ Row *int } }
		}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Value.Source.Row != nil {
			numbers[fmt.Sprint(*line.Value.Source.Row)] = true
		}
	}
	return numbers
}

// waitSpread waits until a connector's tasks run, on these workers alone and on all of them
// as far as there are enough.
func (f *fleet) waitSpread(name string, tasks int, among ...string) {
	f.t.Helper()
	f.wait(fmt.Sprintf("%d tasks of %s run on %v", tasks, name, among), func() bool {
		for _, id := range among {
			var s struct {
				Tasks []struct {
					State  string `json:"state"`
					Worker string `json:"worker_id"`
				} `json:"tasks"`
			}
			_, text := f.ask(id, "GET", "/connectors/"+name+"/status", "")
			if json.Unmarshal([]byte(text), &s) != nil || len(s.Tasks) != tasks {
				return false
			}
			on := map[string]bool{}
			for _, task := range s.Tasks {
				if task.State != "RUNNING" || !slices.Contains(among, task.Worker) {
					return false
				}
				on[task.Worker] = true
			}
			if len(on) < min(tasks, len(among))-1 {
				return false
			}
		}
		return true
	})
}
