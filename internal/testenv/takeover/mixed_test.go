//go:build takeover

package takeover_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/worker/fleet"
)

// elsewhere returns the workers' file with another address, and that address.
func (w *world) elsewhere(file, url string) (other, address string) {
	w.t.Helper()
	port, err := devstack.FreePort()
	if err != nil {
		w.t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	other, address = w.path("other.properties"), fmt.Sprint("http://127.0.0.1:", port)
	if err := os.WriteFile(other, []byte(strings.Replace(string(text), url, address, 1)), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return other, address
}

// refused starts a worker of ours in a group of Kafka Connect's. It must end and say why,
// and nothing else must change.
func (w *world) refused(file, url string) {
	w.t.Helper()
	other, _ := w.elsewhere(file, url)
	before := w.now.status("orders")
	cmd := exec.CommandContext(w.t.Context(), required(w.t, "TIDEMILL_TEST_BINARY"), "worker", "-c", other)
	cmd.Dir = w.dir
	text, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(text), "worker.foreign") {
		w.t.Errorf("our worker in a group of Kafka Connect's ends with %v: %s", err, text)
	}
	if got := w.now.status("orders"); fmt.Sprint(got) != fmt.Sprint(before) {
		w.t.Errorf("the state of orders was %+v and is %+v", before, got)
	}
}

// guest has a worker of Kafka Connect's come to ours. It must be given nothing.
func (w *world) guest(file, url string) {
	w.t.Helper()
	other, address := w.elsewhere(file, url)
	before := w.now.status("orders")
	theirs := startJava(w.t, address, w.dir, other)
	var said string
	wait(w.t, "both are in the group, and ours runs everything", func() bool {
		given, ok := w.shares()
		said = fmt.Sprint(given)
		return ok && len(given) == 2 && given[url+"/"] > 0 && given[address+"/"] == 0
	}, func() string { return said + "\n" + theirs.tail() })
	if got := w.now.status("orders"); fmt.Sprint(got) != fmt.Sprint(before) {
		w.t.Errorf("the state of orders was %+v and is %+v", before, got)
	}
	theirs.stop()
	wait(w.t, "ours is alone again", func() bool { given, ok := w.shares(); return ok && len(given) == 1 }, w.now.tail)
}

// shares returns how much each member of the group was given, by its address.
func (w *world) shares() (map[string]int, bool) {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...))
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{w.group}
	resp, err := req.RequestWith(w.t.Context(), cl)
	if err != nil || len(resp.Groups) != 1 || resp.Groups[0].State != "Stable" {
		return nil, false
	}
	given := map[string]int{}
	for _, m := range resp.Groups[0].Members {
		said, err := fleet.ParseMetadata(m.ProtocolMetadata)
		if err != nil {
			return nil, false
		}
		a, err := fleet.ParseAssignment(m.MemberAssignment)
		if err != nil {
			return nil, false
		}
		given[said.URL] = len(a.Assigned)
	}
	return given, true
}

// TestGroupsAreNotMixed has a worker of ours come to a group of Kafka Connect's, and one of
// Kafka Connect's to a group of ours.
func TestGroupsAreNotMixed(t *testing.T) {
	w := newWorld(t, false)
	file, url := w.properties()
	w.now = startJava(t, url, w.dir, file)
	w.insert("orders", 4)
	w.now.put("orders", w.debezium("orders"))
	w.now.waitFor("orders", "RUNNING+RUNNING")
	w.waitRows("orders")
	w.refused(file, url)
	w.insert("orders", 4)
	w.waitRows("orders")

	// One that was killed is in the group until its session is over; ours waits for that.
	_ = w.now.cmd.Process.Kill()
	<-w.now.done
	w.now = startOurs(t, url, w.dir, file)
	began := time.Now()
	w.insert("orders", 4)
	w.now.waitFor("orders", "RUNNING+RUNNING")
	w.waitRows("orders")
	t.Logf("after a kill, ours runs within %s", time.Since(began).Round(time.Second))
	w.guest(file, url)
	w.insert("orders", 4)
	w.waitRows("orders")
}
