package devstack

import (
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"syscall"
)

// reaperScript waits on its standard input. A line means that the cluster was
// stopped in an orderly way and there is nothing to do. End of file means that
// the process which held the other end is dead: then it ends the server, whose
// pid must still be the one in the lock file, and removes the directory if
// that was temporary.
const reaperScript = `trap '' INT TERM HUP
if read -r line; then exit 0; fi
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ]; then
	kill -QUIT "$pid" 2>/dev/null
	n=0
	while kill -0 "$pid" 2>/dev/null && [ $n -lt 100 ]; do sleep 0.1; n=$((n+1)); done
fi
[ "$2" = keep ] || rm -rf "$1"
`

// reaper is a small shell that outlives us by a moment, to clean up when we
// are killed and cannot do it ourselves.
type reaper struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
}

// startReaper watches over the cluster in dir; a temporary dir is removed
// when we die.
func startReaper(dir string, temporary bool) (*reaper, error) {
	fate := "keep"
	if temporary {
		fate = "remove"
	}
	cmd := exec.Command("/bin/sh", "-c", reaperScript, "tidemill-reaper", dir, fate)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("starting the reaper of %s: %w", strconv.Quote(dir), err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the reaper of %s: %w", strconv.Quote(dir), err)
	}
	return &reaper{cmd: cmd, stdin: stdin}, nil
}

// dismiss ends the reaper without any deed.
func (r *reaper) dismiss() {
	_, _ = io.WriteString(r.stdin, "done\n")
	_ = r.stdin.Close()
	_ = r.cmd.Wait()
}
