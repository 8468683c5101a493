//go:build netns

package rest_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tidemill/tidemill/internal/devstack"
)

// namespaces is a lan of network namespaces: a bridge in the test's own, where the brokers
// are, and a cable from there to each worker's. The test must have a namespace to itself,
// with a bridge in it: make test-netns makes one.
type namespaces struct {
	t    *testing.T
	next int
}

const (
	bridge = "tidemill"
	prefix = "10.77.0."
	broker = prefix + "1:9092"
)

// ip runs the command of this name, with which the network is built.
func (n *namespaces) ip(arguments string) {
	n.t.Helper()
	if out, err := exec.Command("ip", strings.Fields(arguments)...).CombinedOutput(); err != nil {
		n.t.Fatalf("ip %s: %v: %s", arguments, err, out)
	}
}

func newNamespaces(t *testing.T) *namespaces {
	t.Helper()
	if links, err := net.Interfaces(); err != nil || len(links) != 2 || links[1].Name != bridge {
		t.Fatalf("this test builds a network, and does so only in a namespace where there is none yet (make test-netns): %v %v", links, err)
	}
	return &namespaces{t: t, next: 10}
}

// brokers returns those that the script has started, or one in memory.
func (n *namespaces) brokers() []string {
	n.t.Helper()
	if os.Getenv("TIDEMILL_TEST_BROKERS") != "" {
		return devstack.TestKafka(n.t)
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(func(network, _ string) (net.Listener, error) { return net.Listen(network, broker) }))
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(cluster.Close)
	return []string{broker}
}

func (n *namespaces) place() string {
	n.next++
	return prefix + strconv.Itoa(n.next) + ":8083"
}

// cable is the name of the end that a worker's cable has in the test's namespace.
func cable(id string) string {
	host, _, _ := net.SplitHostPort(id)
	return "worker" + strings.TrimPrefix(host, prefix)
}

// join starts a process in a namespace of its own, which waits until its cable is there.
func (n *namespaces) join(id string, cmd *exec.Cmd) error {
	n.t.Helper()
	host, _, _ := net.SplitHostPort(id)
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", `read -r go && exec "$0"`, cmd.Path}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	ready, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	pid := strconv.Itoa(cmd.Process.Pid)
	n.ip("link add " + cable(id) + " type veth peer name eth0 netns " + pid)
	n.ip("link set " + cable(id) + " master " + bridge)
	n.ip("link set " + cable(id) + " up")
	for _, inside := range []string{"link set lo up", "addr add " + host + "/24 dev eth0", "link set eth0 up"} {
		if out, err := exec.Command("nsenter", append([]string{"-t", pid, "-n", "ip"}, strings.Fields(inside)...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s in the namespace of %s: %w: %s", inside, id, err, out)
		}
	}
	_, err = io.WriteString(ready, "go\n")
	return errors.Join(err, ready.Close())
}

// cuts are the ways in which a worker is cut off, and how each is mended.
func (n *namespaces) cuts() map[string]func(id string) (mend func()) {
	return map[string]func(string) func(){
		"the cable is pulled": func(id string) func() {
			n.ip("link set " + cable(id) + " down")
			return func() { n.ip("link set " + cable(id) + " up") }
		},
		// What the worker sends arrives, and is carried out. The answers do not.
		"answers are lost": func(id string) func() {
			host, _, _ := net.SplitHostPort(id)
			n.ip("neigh replace " + host + " lladdr 02:00:00:00:00:01 nud permanent dev " + bridge)
			return func() { n.ip("neigh del " + host + " dev " + bridge) }
		},
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
	for how, cut := range n.cuts() {
		leader := f.leader()
		for _, victim := range []string{f.other(leader), leader} {
			mend := cut(victim)
			f.waitEven(connectors, f.without(victim)...)
			mend()
			f.waitEven(connectors, a, b, c)
			t.Logf("%s: %s was cut off and is back", how, victim)
		}
	}
	f.finish(connectors, func(string, []row) {})
}
