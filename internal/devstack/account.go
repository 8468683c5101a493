package devstack

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/tidemill/tidemill/connect"
)

// account is the unprivileged account that the server runs as. The zero
// account means "whoever we are".
type account struct {
	drop     bool
	uid, gid int
}

// unprivileged returns the account for the server: ourselves, or, because
// PostgreSQL refuses to run as root, the account "postgres" and else "nobody".
func unprivileged() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err1 == nil && err2 == nil && uid != 0 {
			return account{drop: true, uid: uid, gid: gid}, nil
		}
	}
	return account{}, &connect.Error{
		Code:    "devstack.postgres.account",
		Message: "PostgreSQL does not run as root, and there is neither an account \"postgres\" nor \"nobody\" to run it as",
		Mend:    "run as an ordinary user",
	}
}

// own hands path over to the account.
func (a account) own(path string) error {
	if !a.drop {
		return nil
	}
	return os.Lchown(path, a.uid, a.gid)
}

// reaches reports whether the account may pass through every folder down to
// and including dir.
func (a account) reaches(dir string) bool {
	if !a.drop {
		return true
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return false
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	for {
		info, err := os.Stat(dir)
		if err != nil || !a.passes(info) {
			return false
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return true
		}
		dir = parent
	}
}

// passes reports whether the account has the search permission on a folder.
func (a account) passes(info os.FileInfo) bool {
	mode := info.Mode().Perm()
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case ok && int(stat.Uid) == a.uid:
		return mode&0o100 != 0
	case ok && int(stat.Gid) == a.gid:
		return mode&0o010 != 0
	default:
		return mode&0o001 != 0
	}
}

// tempDir makes a temporary directory that the account owns and can reach:
// below the usual place for temporary files, or else below /tmp or /var/tmp.
func (a account) tempDir(pattern string) (string, error) {
	for _, base := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		if !a.reaches(base) {
			continue
		}
		dir, err := os.MkdirTemp(base, pattern)
		if err != nil {
			return "", err
		}
		if err := a.own(dir); err != nil {
			return "", err
		}
		return dir, nil
	}
	return "", &connect.Error{
		Code:    "devstack.postgres.tempdir",
		Message: "no folder for temporary files can be reached by the unprivileged account that runs PostgreSQL",
		Mend:    "set TMPDIR to a folder that every user may enter",
	}
}
