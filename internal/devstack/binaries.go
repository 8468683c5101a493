package devstack

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// binaries is a folder with the server programs of one PostgreSQL version.
type binaries struct {
	dir     string
	version string   // "15.8"
	env     []string // what these programs need besides the usual
}

// FindPostgres returns the folder of the server binaries that [StartPostgres]
// would use and their version, such as "15.8". A non-empty binDir is used as
// it is; otherwise PATH is searched, then the folder that pg_config names,
// then the usual folders of Debian, Red Hat, Homebrew and Postgres.app, newest
// version first. The error is an [*connect.Error] that says how to install PostgreSQL.
func FindPostgres(ctx context.Context, binDir string) (dir, version string, err error) {
	b, err := findBinaries(ctx, binDir)
	return b.dir, b.version, err
}

func findBinaries(ctx context.Context, explicit string) (binaries, error) {
	if explicit != "" {
		b, err := inspect(ctx, explicit)
		if err != nil {
			return binaries{}, &connect.Error{
				Code:    "devstack.postgres.bindir",
				Message: fmt.Sprintf("%s does not hold usable PostgreSQL server programs", strconv.Quote(explicit)),
				Mend:    "name the folder that holds both initdb and postgres",
				Cause:   err,
			}
		}
		return b, nil
	}
	for _, dir := range candidates(ctx) {
		if b, err := inspect(ctx, dir); err == nil {
			return b, nil
		}
	}
	return binaries{}, &connect.Error{
		Code:    "devstack.postgres.missing",
		Message: "no PostgreSQL server programs (initdb, postgres) were found on PATH, through pg_config or in the usual folders",
		Mend: "install them (Debian and Ubuntu: apt-get install postgresql; Fedora: dnf install postgresql-server; " +
			"macOS: brew install postgresql) or use a database of your own",
	}
}

// candidates lists the folders to look into, best first.
func candidates(ctx context.Context) (dirs []string) {
	if path, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		dirs = append(dirs, filepath.Dir(path))
	}
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",
		"/usr/pgsql-*/bin",
		"/usr/libexec/postgresql*",
		"/opt/homebrew/opt/postgresql*/bin",
		"/usr/local/opt/postgresql*/bin",
		"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
		"/usr/local/pgsql/bin",
		"/usr/bin",
	} {
		found, _ := filepath.Glob(pattern) // The patterns are constant and well formed.
		sort.Slice(found, func(i, j int) bool { return majorIn(found[i]) > majorIn(found[j]) })
		dirs = append(dirs, found...)
	}
	return dirs
}

// majorIn returns the version number in a folder's name, 0 without one.
func majorIn(dir string) (n float64) {
	for _, part := range strings.FieldsFunc(dir, func(r rune) bool { return (r < '0' || r > '9') && r != '.' }) {
		if v, err := strconv.ParseFloat(part, 64); err == nil {
			n = v
		}
	}
	return n
}

// inspect runs the programs of dir to learn their version.
func inspect(ctx context.Context, dir string) (binaries, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return binaries{}, err
	}
	b := binaries{dir: dir}
	if _, err := os.Stat(filepath.Join(dir, "..", "pg-symlinks.json")); err == nil {
		b.env = []string{"LD_LIBRARY_PATH=" + filepath.Join(dir, "..", "lib")}
	}
	for _, program := range []string{"initdb", "postgres"} {
		cmd := b.command(ctx, program, "-V")
		out, err := cmd.Output()
		if err != nil {
			return binaries{}, fmt.Errorf("running %s -V: %w", filepath.Join(dir, program), err)
		}
		b.version = versionIn(string(out))
	}
	if b.version == "" {
		return binaries{}, fmt.Errorf("%s -V does not say its version", filepath.Join(dir, "postgres"))
	}
	return b, nil
}

// versionIn returns "15.8" of "postgres (PostgreSQL) 15.8 (Debian 15.8-0)".
func versionIn(text string) string {
	_, rest, ok := strings.Cut(text, "(PostgreSQL) ")
	if !ok {
		return ""
	}
	version, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	return version
}

// major returns "15" of "15.8", "18" of "18beta1".
func (b binaries) major() string {
	end := strings.IndexFunc(b.version, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		return b.version
	}
	return b.version[:end]
}

// command prepares one of the programs with an environment that does not
// depend on the user's: no PG* variables, English messages, UTC.
func (b binaries) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(b.dir, program), args...)
	cmd.Env = append([]string{
		"PATH=" + b.dir + string(os.PathListSeparator) + os.Getenv("PATH"),
		"LC_ALL=C", "TZ=UTC", "HOME=/", "TMPDIR=/tmp",
	}, b.env...)
	return cmd
}
