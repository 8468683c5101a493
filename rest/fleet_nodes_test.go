//go:build nodes

package rest_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// coordinator returns the number of the broker that keeps the workers' group.
func (f *fleet) coordinator() int {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(f.brokers, ",")...))
	if err != nil {
		f.t.Fatal(err)
	}
	defer cl.Close()
	groups, err := kadm.NewClient(cl).DescribeGroups(ctx, "workers")
	if err != nil {
		f.t.Fatal(err)
	}
	return int(groups["workers"].Coordinator.NodeID)
}

// nodeFile is a file of a broker's, in the folder that the script names.
func nodeFile(number int, what string) string {
	return filepath.Join(os.Getenv("TIDEMILL_TEST_NODE_DIR"), fmt.Sprintf("node-%d.%s", number, what))
}

// killNode kills a broker.
func (f *fleet) killNode(number int) {
	f.t.Helper()
	text, err := os.ReadFile(nodeFile(number, "pid"))
	if err != nil {
		f.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		f.t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		f.t.Fatal(err)
	}
}

// startNode starts it again. It lives as long as the thread that has started it.
func (f *fleet) startNode(number int) {
	f.t.Helper()
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		cmd := exec.Command(nodeFile(number, "sh"))
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // Until the script ends everything.
		}
	}()
	if err := <-started; err != nil {
		f.t.Fatal(err)
	}
	f.wait(fmt.Sprintf("broker %d is back", number), func() bool {
		ctx, cancel := context.WithTimeout(f.t.Context(), 10*time.Second)
		defer cancel()
		cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(f.brokers, ",")...))
		if err != nil {
			f.t.Fatal(err)
		}
		defer cl.Close()
		topics, err := kadm.NewClient(cl).ListTopics(ctx)
		if err != nil {
			return false
		}
		whole := true
		topics.EachPartition(func(p kadm.PartitionDetail) { whole = whole && len(p.ISR) == len(p.Replicas) })
		return whole
	})
}

// TestFleetLosesABroker kills each broker in turn, that which keeps the group first, and a
// worker while one is away.
func TestFleetLosesABroker(t *testing.T) {
	f := newFleet(t)
	a, b, c := f.start(""), f.start(""), f.start("")
	const connectors = 3
	for i := range connectors {
		f.must(http.StatusCreated, a, "PUT", fmt.Sprintf("/connectors/c%d/config", i), source(i, 50))
	}
	f.waitEven(connectors, a, b, c)
	for range 2 {
		node := f.coordinator()
		f.killNode(node)
		before := len(f.read("t0"))
		f.wait("rows come with a broker less", func() bool { return len(f.read("t0")) > before+50 })
		victim := f.leader()
		f.end(victim, syscall.SIGKILL)
		f.waitEven(connectors, f.ids()...)
		f.start(victim)
		f.waitEven(connectors, a, b, c)
		f.startNode(node)
	}
	f.finish(connectors, func(string, []row) {})
}
