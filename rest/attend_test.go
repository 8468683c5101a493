package rest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/rest"
	"github.com/tidemill/tidemill/worker"
)

// TestTasksOnSeveralWorkersAreAttended asks one worker of a connector whose second task is
// on another, and whose third was on one that is gone.
func TestTasksOnSeveralWorkersAreAttended(t *testing.T) {
	listen := connect.Config{"listeners": "http://127.0.0.1:0"}
	shows := func(number int, text string) worker.TaskDetails {
		return worker.TaskDetails{ID: number, Documents: map[string]json.RawMessage{"slot": json.RawMessage(text)}}
	}
	there, here := newStandIn(), newStandIn()
	for _, h := range []*standIn{there, here} {
		h.all["c"], h.states["c"] = connect.Config{"name": "c"}, worker.Started
	}
	there.details = []worker.TaskDetails{{ID: 0}, shows(1, `"there"`), {ID: 2}}
	here.details = []worker.TaskDetails{shows(0, `"here"`), {ID: 1}, {ID: 2}}
	other, _ := start(t, listen, rest.Options{Herder: there})
	gone, stop := start(t, listen, rest.Options{})
	stop()
	one, _ := start(t, listen, rest.Options{Herder: here})
	address := func(s *rest.Server) string { return fmt.Sprintf("http://%s/", s.Addrs()[0]) }
	here.attending, there.attending = []string{address(other), address(gone)}, []string{address(one)}

	resp, err := http.Get(address(one) + "connectors/c/details")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"name":"c","tasks":[{"id":0,"slot":"here"},{"id":1,"slot":"there"},{"id":2}]}`; string(text) != want {
		t.Errorf("it shows %s, want %s", text, want)
	}
	if warning := resp.Header.Get("Warning"); !strings.Contains(warning, address(gone)) {
		t.Errorf("it warns of %q", warning)
	}

	here.attending = here.attending[:1]
	const signal = `{"id":"1","type":"log"}`
	sent, err := http.Post(address(one)+"connectors/c/signals", "application/json", strings.NewReader(signal))
	if err != nil {
		t.Fatal(err)
	}
	_ = sent.Body.Close()
	for _, h := range []*standIn{there, here} {
		h.mu.Lock()
		defer h.mu.Unlock()
	}
	if sent.StatusCode != http.StatusAccepted || len(here.signals) != 1 || len(there.signals) != 1 {
		t.Errorf("%s, handed over here %q, there %q", sent.Status, here.signals, there.signals)
	}
}
