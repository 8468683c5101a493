package netns

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/tidemill/tidemill/connect"
)

// Address is that of the bridge, where machines find us.
const Address = prefix + "1"

const (
	bridge = "tidemill"
	prefix = "10.77.0."
)

// Lan is a bridge that machines are plugged into. Its methods may be called by several
// goroutines.
type Lan struct{ plugged atomic.Uint32 }

// Open finds the bridge, in a namespace that has nothing else: what is done to the network
// is to be done to none but ours.
func Open() (*Lan, error) {
	links, err := net.Interfaces()
	there := false
	for _, link := range links {
		there = there || link.Name == bridge
		if link.Flags&(net.FlagUp|net.FlagLoopback) == net.FlagUp && link.Name != bridge {
			there, err = false, fmt.Errorf("there is %s", link.Name)
			break
		}
	}
	if err == nil && there {
		return &Lan{}, nil
	}
	return nil, &connect.Error{
		Code: "netns.none", Message: "machines are plugged in only in a network namespace that has a bridge for them and nothing else, which this one is not", Cause: err,
		Mend: "have internal/testenv/netns/run run it, as make torture-netns and make test-netns do; that needs Linux",
	}
}

// Machine is a network namespace, with a cable to the bridge.
type Machine struct {
	address string
	cable   string   // The end of it that is in the bridge.
	space   *os.File // Keeps the namespace.
}

// inside makes the machine's side of the network, from within, and waits. The process that
// made it is its parent, since unshare becomes the shell.
const inside = `
ip link set lo up
ip link add eth0 type veth peer name "$0" netns $PPID
ip addr add "$1" dev eth0
ip link set eth0 up
echo made
read -r over || :
`

// Plug makes a machine and plugs its cable in.
func (l *Lan) Plug() (*Machine, error) {
	const first, most = 11, 200 // When they are used up, those of the first are free again.
	number := strconv.Itoa(first + int((l.plugged.Add(1)-1)%most))
	m := &Machine{address: prefix + number, cable: "cable" + number}
	err := m.make()
	if err == nil {
		err = ip("link set " + m.cable + " master " + bridge + " up")
	}
	if err != nil {
		if m.space != nil {
			_ = m.space.Close() // The cable goes with the namespace.
		}
		return nil, fmt.Errorf("plugging a machine in: %w", err)
	}
	return m, nil
}

// make has a short process make the namespace, and keeps it.
func (m *Machine) make() error {
	var complaint strings.Builder
	maker := exec.Command("unshare", "--net", "sh", "-ec", inside, m.cable, m.address+"/24")
	maker.Stderr = &complaint
	over, err := maker.StdinPipe()
	if err != nil {
		return err
	}
	out, err := maker.StdoutPipe()
	if err != nil {
		return err
	}
	if err := maker.Start(); err != nil {
		return err
	}
	_, err = bufio.NewReader(out).ReadString('\n')
	if err == nil {
		m.space, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", maker.Process.Pid))
	}
	_ = over.Close() // It may have ended by itself.
	if err = errors.Join(err, maker.Wait()); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(complaint.String()))
	}
	return nil
}

// Address is where the machine is found, by us and by others.
func (m *Machine) Address() string { return m.address }

// Command is exec.Command for a program that runs on the machine. The process is that of
// the program.
func (m *Machine) Command(name string, arg ...string) *exec.Cmd {
	space := fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), m.space.Fd())
	return exec.Command("nsenter", append([]string{space, "--", name}, arg...)...)
}

// Pull pulls the cable: nothing goes to the machine or comes from it until mend is called.
func (m *Machine) Pull() (mend func() error, err error) {
	return func() error { return ip("link set " + m.cable + " up") }, ip("link set " + m.cable + " down")
}

// Deafen loses all that goes from us to the machine until mend is called. What it sends
// arrives, and is carried out; the answers do not. Other machines still reach it.
func (m *Machine) Deafen() (mend func() error, err error) {
	return func() error { return ip("neigh del " + m.address + " dev " + bridge) },
		ip("neigh replace " + m.address + " lladdr 02:00:00:00:00:01 nud permanent dev " + bridge)
}

// Close takes the cable away. The namespace ends with the last process in it.
func (m *Machine) Close() error { return errors.Join(ip("link del "+m.cable), m.space.Close()) }

// ip runs the command of this name.
func ip(arguments string) error {
	if out, err := exec.Command("ip", strings.Fields(arguments)...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", arguments, err, strings.TrimSpace(string(out)))
	}
	return nil
}
