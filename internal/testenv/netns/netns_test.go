//go:build netns

package netns

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// onMachine tells the test's program that it is the one on a machine, and whom it speaks to.
const onMachine = "TIDEMILL_TEST_NETNS"

// TestMain is what runs on a machine too: what comes to it is written out, and what it
// reads is sent.
func TestMain(m *testing.M) {
	to := os.Getenv(onMachine)
	if to == "" {
		os.Exit(m.Run())
	}
	conn, err := net.Dial("udp", to)
	if err != nil {
		panic(err)
	}
	go func() { _, _ = io.Copy(os.Stdout, conn) }()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if _, err := conn.Write(append(lines.Bytes(), '\n')); err != nil {
			panic(err)
		}
	}
}

// talker is a program on a machine that we exchange lines with.
type talker struct {
	t     *testing.T
	said  io.Writer
	heard <-chan string
	ours  net.PacketConn
	peer  net.Addr
}

// lost is what must not come to a machine.
const lost = "lost"

// tell sends a line to the machine once.
func (k *talker) tell(line string) {
	k.t.Helper()
	if _, err := k.ours.WriteTo([]byte(line+"\n"), k.peer); err != nil {
		k.t.Fatal(err)
	}
}

// reaches sends a line again and again until it comes to the machine.
func (k *talker) reaches(line string) {
	k.t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		k.tell(line)
		select {
		case got, ok := <-k.heard:
			if !ok || got == lost {
				k.t.Fatalf("the machine hears %q, %v", got, ok)
			}
			if got == line {
				return
			}
		case <-again.C:
		}
	}
}

// says has the machine send a line, which must come.
func (k *talker) says(line string) {
	k.t.Helper()
	if _, err := io.WriteString(k.said, line+"\n"); err != nil {
		k.t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, from, err := k.ours.ReadFrom(buf)
	if err != nil || string(buf[:n]) != line+"\n" {
		k.t.Fatalf("from the machine comes %q %v, not %q", buf[:n], err, line)
	}
	k.peer = from
}

// talk starts a program on a machine.
func talk(t *testing.T, m *Machine) *talker {
	t.Helper()
	ours, err := net.ListenPacket("udp", net.JoinHostPort(Address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := m.Command(os.Args[0])
	cmd.Env = append(os.Environ(), onMachine+"="+ours.LocalAddr().String())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	heard := make(chan string)
	go func() {
		defer close(heard)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			heard <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		_, _ = in.Close(), ours.Close()
		for range heard {
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return &talker{t: t, said: in, heard: heard, ours: ours}
}

func plug(t *testing.T, lan *Lan) *Machine {
	t.Helper()
	m, err := lan.Plug()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestNetworkMachine cuts a machine off: what is sent to it meanwhile is lost, and only
// that; the other machine is told all. When it is closed its cable is gone.
func TestNetworkMachine(t *testing.T) {
	lan, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	one, two := plug(t, lan), plug(t, lan)
	if one.Address() == two.Address() {
		t.Fatal("two machines have one address")
	}
	if _, err := Open(); err == nil {
		t.Error("a namespace that is in use is taken for a new one")
	}
	t.Run("cut", func(t *testing.T) {
		a, b := talk(t, one), talk(t, two)
		a.says("I am here")
		b.says("I am here")
		for n, cut := range []func(*Machine) (func() error, error){(*Machine).Pull, (*Machine).Deafen} {
			mend, err := cut(one)
			if err != nil {
				t.Fatal(err)
			}
			a.tell(lost)
			b.reaches(fmt.Sprint("found ", n))
			if err := mend(); err != nil {
				t.Fatal(err)
			}
			a.reaches(fmt.Sprint("back ", n))
			a.says("again")
		}
		mend, err := one.Deafen()
		if err != nil {
			t.Fatal(err)
		}
		a.says("nobody answers")
		if err := mend(); err != nil {
			t.Error(err)
		}
	})
	for _, m := range []*Machine{one, two} {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := Open(); err != nil {
		t.Errorf("something is left behind: %v", err)
	}
}
