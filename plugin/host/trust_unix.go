//go:build unix

package host

import (
	"fmt"
	"os"
	"syscall"
)

// mark is by what a file is known to be the same.
type mark struct {
	device, inode uint64
	size          int64
	changed       int64 // Nanoseconds.
	mode          os.FileMode
}

// untrusted is what is wrong with a file or directory, and what puts it right.
func untrusted(path, what, mend string) error {
	return fmt.Errorf("plugin.untrusted: %s %s and is not used → %s", path, what, mend)
}

// trusted returns a file's mark if nobody but root and the worker's user can have
// written it.
func trusted(path string) (mark, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return mark{}, err
	}
	if !info.Mode().IsRegular() {
		return mark{}, untrusted(path, "is no regular file", "put the file itself there")
	}
	if err := owned(path, info); err != nil {
		return mark{}, err
	}
	stat := info.Sys().(*syscall.Stat_t)
	return mark{uint64(stat.Dev), uint64(stat.Ino), info.Size(), info.ModTime().UnixNano(), info.Mode()}, nil
}

// trustedDir is trusted for a directory of plugin.path.
func trustedDir(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("plugin.path: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("plugin.path: %s is no directory", path)
	}
	return owned(path, info)
}

func owned(path string, info os.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return untrusted(path, "does not tell its owner", "put it on another file system")
	}
	if stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return untrusted(path, "belongs to another user", "chown it to root or to the worker's user")
	}
	if info.Mode().Perm()&0o022 != 0 {
		return untrusted(path, "can be written by others", "chmod go-w "+path)
	}
	return nil
}
