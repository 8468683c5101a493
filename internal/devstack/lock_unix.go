//go:build unix

package devstack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/tidemill/tidemill/connect"
)

// lockDir makes dir and takes it for this process: two processes that write
// to one directory would ruin it. The lock ends with the process or by
// closing the file.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	name := filepath.Join(dir, "lock")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of the data directory: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		owner, _ := os.ReadFile(name) // The message is good enough without.
		_ = f.Close()
		return nil, &connect.Error{
			Code:    "devstack.dir.locked",
			Place:   dir,
			Message: fmt.Sprintf("another process (pid %s) uses this data directory", strings.TrimSpace(string(owner))),
			Mend:    "stop it, or choose another directory with --data-dir",
		}
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	return f, nil
}
