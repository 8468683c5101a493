package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/connect"
)

// maxSocketDir is the longest folder name that leaves room for the socket's
// own name in the 104 bytes (macOS) or 108 bytes (Linux) of a socket address.
const maxSocketDir = 80

// errAgain marks a failed start that a new attempt may cure.
var errAgain = errors.New("the server ended while starting")

func (p *Postgres) dataDir() string { return filepath.Join(p.dir, "data") }

// prepareDir makes the directory and hands it to the server's account.
func (p *Postgres) prepareDir() error {
	if p.opts.Dir == "" {
		dir, err := p.as.tempDir("tidemill-pg-")
		p.dir, p.temporary = dir, true
		return err
	}
	dir, err := filepath.Abs(p.opts.Dir)
	if err != nil {
		return fmt.Errorf("making the directory of the private PostgreSQL cluster: %w", err)
	}
	p.dir = dir
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the directory of the private PostgreSQL cluster: %w", err)
	}
	if err := p.as.own(dir); err != nil {
		return fmt.Errorf("handing the directory to the account that runs PostgreSQL: %w", err)
	}
	if !p.as.reaches(dir) {
		return &connect.Error{
			Code:    "devstack.postgres.dir",
			Message: fmt.Sprintf("the unprivileged account that runs PostgreSQL may not enter %s", strconv.Quote(dir)),
			Mend:    "choose a directory that every user may enter, for example below /var/tmp, or run as an ordinary user",
		}
	}
	return nil
}

// initialise runs initdb unless the cluster exists, and writes the settings.
func (p *Postgres) initialise(ctx context.Context) error {
	version, err := os.ReadFile(filepath.Join(p.dataDir(), "PG_VERSION"))
	switch {
	case errors.Is(err, os.ErrNotExist):
		if err := p.initdb(ctx); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("looking at the private PostgreSQL cluster: %w", err)
	case strings.TrimSpace(string(version)) != p.bin.major():
		return &connect.Error{
			Code: "devstack.postgres.version",
			Message: fmt.Sprintf("the cluster in %s was made by PostgreSQL %s, the programs in %s are version %s",
				strconv.Quote(p.dir), strings.TrimSpace(string(version)), strconv.Quote(p.bin.dir), p.bin.version),
			Mend: "name the programs of that version, or start with an empty directory",
		}
	}
	return p.configure()
}

// initdb makes an empty cluster.
func (p *Postgres) initdb(ctx context.Context) error {
	args := []string{"--no-sync", "--no-locale", "-E", "UTF8", "-U", p.opts.User, "-D", p.dataDir()}
	if p.opts.Password == "" {
		args = append(args, "-A", "trust")
	} else {
		file := filepath.Join(p.dir, "password")
		defer func() { _ = os.Remove(file) }()
		if err := os.WriteFile(file, []byte(p.opts.Password+"\n"), 0o600); err != nil {
			return fmt.Errorf("writing the superuser's password for initdb: %w", err)
		}
		if err := p.as.own(file); err != nil {
			return fmt.Errorf("writing the superuser's password for initdb: %w", err)
		}
		args = append(args, "-A", "scram-sha-256", "--pwfile", file)
	}
	log, err := p.openLog()
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := p.bin.command(context.WithoutCancel(ctx), "initdb", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, log, log
	proc, err := startProcess(cmd, p.as)
	if err != nil {
		return fmt.Errorf("starting initdb: %w", err)
	}
	select {
	case <-proc.done:
	case <-ctx.Done():
		proc.signal(syscall.SIGKILL)
		<-proc.done
		return fmt.Errorf("making a PostgreSQL cluster: %w", ctx.Err())
	}
	if !cmd.ProcessState.Success() {
		return &connect.Error{
			Code:    "devstack.postgres.initdb",
			Message: fmt.Sprintf("initdb could not make a cluster in %s (%s):\n%s", strconv.Quote(p.dir), cmd.ProcessState, p.logTail()),
			Mend:    "see its message",
		}
	}
	return nil
}

// configure writes our settings into a file of their own, which the main
// configuration file includes. So ALTER SYSTEM still overrides them.
func (p *Postgres) configure() error {
	settings := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"unix_socket_directories": p.dir,
		"wal_level":               "logical",
		"max_wal_senders":         "20",
		"max_replication_slots":   "20",
		"log_timezone":            "UTC",
		"timezone":                "UTC",
	}
	if len(p.dir) > maxSocketDir {
		settings["unix_socket_directories"] = ""
	}
	if p.opts.NoSync {
		settings["fsync"], settings["full_page_writes"] = "off", "off"
	}
	for name, value := range p.opts.Settings {
		settings[name] = value
	}
	var text strings.Builder
	for _, name := range sortedKeys(settings) {
		fmt.Fprintf(&text, "%s = '%s'\n", name, strings.ReplaceAll(settings[name], "'", "''"))
	}
	ours := filepath.Join(p.dataDir(), "tidemill.conf")
	if err := os.WriteFile(ours, []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("writing the settings of the private PostgreSQL cluster: %w", err)
	}
	if err := p.as.own(ours); err != nil {
		return fmt.Errorf("writing the settings of the private PostgreSQL cluster: %w", err)
	}
	return includeOnce(filepath.Join(p.dataDir(), "postgresql.conf"), "\ninclude 'tidemill.conf'\n")
}

// includeOnce appends line to the file unless it is already there.
func includeOnce(file, line string) error {
	text, err := os.ReadFile(file)
	if err == nil && !strings.Contains(string(text), line) {
		err = os.WriteFile(file, append(text, line...), 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing the settings of the private PostgreSQL cluster: %w", err)
	}
	return nil
}

// start starts the server and waits until it answers. A port that we chose
// and somebody took first is chosen anew, and a predecessor's shared memory
// that is not free yet is waited for. The caller holds mu.
func (p *Postgres) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	port := p.port
	for {
		if p.port == 0 {
			free, err := FreePort()
			if err != nil {
				return err
			}
			port = free
		}
		err := p.startOnce(ctx, port)
		if err == nil {
			p.port = port
			return nil
		}
		if !errors.Is(err, errAgain) || !p.curable() {
			return err
		}
		if !pause(ctx, 50*time.Millisecond) {
			return err
		}
	}
}

// curable reads in the log of a failed start whether to try again.
func (p *Postgres) curable() bool {
	tail := p.logTail()
	return p.port == 0 && strings.Contains(tail, "could not bind") ||
		strings.Contains(tail, "is still in use") ||
		strings.Contains(tail, "could not create lock file") && strings.Contains(tail, "File exists")
}

// startOnce runs the server on port and waits for the first answer.
func (p *Postgres) startOnce(ctx context.Context, port int) error {
	if err := os.Truncate(p.LogFile(), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("emptying the log of PostgreSQL: %w", err)
	}
	log, err := p.openLog()
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // The server has its own descriptor.
	cmd := p.bin.command(context.Background(), "postgres", "-D", p.dataDir(), "-p", strconv.Itoa(port))
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, log, log
	proc, err := startProcess(cmd, p.as)
	if err != nil {
		return fmt.Errorf("starting PostgreSQL: %w", err)
	}
	for {
		lastErr := p.ping(ctx, port)
		if lastErr == nil && !proc.ended() {
			p.proc = proc
			return nil
		}
		if proc.ended() {
			return &connect.Error{
				Code:    "devstack.postgres.start",
				Message: fmt.Sprintf("PostgreSQL %s did not start on port %d:\n%s", p.bin.version, port, p.logTail()),
				Mend:    "see its message",
				Cause:   errAgain,
			}
		}
		if !pause(ctx, 10*time.Millisecond) {
			proc.signal(syscall.SIGQUIT)
			<-proc.done
			return fmt.Errorf("waiting for PostgreSQL to answer on port %d: %w", port, lastErr)
		}
	}
}

// ping asks the server on port for its data directory, so that a foreign
// server on the same port is not taken for ours.
func (p *Postgres) ping(ctx context.Context, port int) error {
	conn, err := pgx.Connect(ctx, p.dsn("postgres", port))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	var dir string
	if err := conn.QueryRow(ctx, "SHOW data_directory").Scan(&dir); err != nil {
		return err
	}
	if dir != p.dataDir() {
		return fmt.Errorf("another PostgreSQL with its data in %s answers on port %d", strconv.Quote(dir), port)
	}
	return nil
}

func (p *Postgres) openLog() (*os.File, error) {
	f, err := os.OpenFile(p.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the log of PostgreSQL: %w", err)
	}
	return f, nil
}

// logTail returns the last lines of the server's log.
func (p *Postgres) logTail() string {
	text, err := os.ReadFile(p.LogFile())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}

// pause waits between two looks at a condition; false means that ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
