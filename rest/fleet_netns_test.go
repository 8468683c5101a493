//go:build netns

package rest_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/internal/testenv/netns"
)

// namespaces has each worker run on a machine of its own. The brokers are where we are: make
// test-netns makes such a place.
type namespaces struct {
	t        *testing.T
	lan      *netns.Lan
	machines map[string]*netns.Machine // By the worker's id.
}

func newNamespaces(t *testing.T) *namespaces {
	t.Helper()
	lan, err := netns.Open()
	if err != nil {
		t.Fatal(err)
	}
	return &namespaces{t, lan, map[string]*netns.Machine{}}
}

// brokers returns those that the script has started, or one in memory.
func (n *namespaces) brokers() []string {
	n.t.Helper()
	if os.Getenv("TIDEMILL_TEST_BROKERS") != "" {
		return devstack.TestKafka(n.t)
	}
	const broker = netns.Address + ":9092"
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(func(network, _ string) (net.Listener, error) { return net.Listen(network, broker) }))
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(cluster.Close)
	return []string{broker}
}

func (n *namespaces) place() string {
	n.t.Helper()
	machine, err := n.lan.Plug()
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		if err := machine.Close(); err != nil {
			n.t.Error(err)
		}
	})
	id := machine.Address() + ":8083"
	n.machines[id] = machine
	return id
}

func (n *namespaces) join(id string, cmd *exec.Cmd) error {
	there := n.machines[id].Command(cmd.Path, cmd.Args[1:]...)
	cmd.Path, cmd.Args, cmd.Err = there.Path, there.Args, there.Err
	return cmd.Start()
}

// cuts are the ways in which a worker is cut off.
func cuts() map[string]func(*netns.Machine) (mend func() error, err error) {
	return map[string]func(*netns.Machine) (func() error, error){
		"the cable is pulled": (*netns.Machine).Pull,
		"answers are lost":    (*netns.Machine).Deafen,
	}
}

// TestNetworkIsCut has workers on machines of their own, as far as networks go, and cuts one
// after another off. The others take its work over; when it is back it must not write what
// they have written.
func TestNetworkIsCut(t *testing.T) {
	n := newNamespaces(t)
	f := fleetOn(t, n.brokers())
	f.lan = n
	a, b, c := f.start(""), f.start(""), f.start("")
	const connectors = 3
	for i := range connectors {
		f.must(http.StatusCreated, a, "PUT", fmt.Sprintf("/connectors/c%d/config", i), source(i, 50))
	}
	f.waitEven(connectors, a, b, c)
	for how, cut := range cuts() {
		leader := f.leader()
		for _, victim := range []string{f.other(leader), leader} {
			mend, err := cut(n.machines[victim])
			if err != nil {
				t.Fatal(err)
			}
			f.waitEven(connectors, f.without(victim)...)
			if err := mend(); err != nil {
				t.Fatal(err)
			}
			f.waitEven(connectors, a, b, c)
			t.Logf("%s: %s was cut off and is back", how, victim)
		}
	}
	f.finish(connectors, func(string, []row) {})
}
