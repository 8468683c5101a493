package devstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// startTimeout bounds one start of the server, including crash recovery.
const startTimeout = 60 * time.Second

// stopPatience is how long a fast stop may take before it becomes an immediate
// one, unless the caller's context says: a fast stop waits for replication
// clients to confirm everything.
const stopPatience = 10 * time.Second

// PostgresOptions says which PostgreSQL to start and how. The zero value
// starts the newest server of this machine in a temporary directory.
type PostgresOptions struct {
	// BinDir is the folder of the server programs. Default: see [FindPostgres].
	BinDir string
	// Dir holds the cluster (in Dir/data), its socket and its log. A cluster
	// that is already there is used. Default: a temporary directory, which is
	// removed by Stop, or when this process dies.
	Dir string
	// Port is the TCP port on 127.0.0.1. Default: a free one.
	Port int
	// User is the superuser. Default: "postgres".
	User string
	// Password, when set, must be given by every client (SCRAM-SHA-256).
	// Without it every local client is trusted.
	Password string
	// Settings are written to the configuration file, over our own:
	// wal_level=logical and room for 20 replication slots and senders.
	Settings map[string]string
	// NoSync trades crash safety of the operating system for speed: fsync is
	// off. Killing the server loses nothing even so.
	NoSync bool
}

// Postgres is a running private PostgreSQL cluster. Its methods may be called
// by several goroutines.
type Postgres struct {
	opts      PostgresOptions
	bin       binaries
	as        account
	dir       string
	temporary bool
	reaper    *reaper

	mu      sync.Mutex // guards the following
	port    int
	proc    *process
	stopped bool
}

// StartPostgres starts a private cluster and returns when it answers queries.
// The context bounds the start alone. Errors that the user can mend are
// [*connect.Error]: missing programs, an unusable directory, a taken port.
func StartPostgres(ctx context.Context, opts PostgresOptions) (*Postgres, error) {
	if opts.User == "" {
		opts.User = "postgres"
	}
	bin, err := findBinaries(ctx, opts.BinDir)
	if err != nil {
		return nil, err
	}
	as, err := unprivileged()
	if err != nil {
		return nil, err
	}
	if !as.reaches(bin.dir) {
		return nil, &connect.Error{
			Code:    "devstack.postgres.bindir",
			Message: fmt.Sprintf("the unprivileged account that runs PostgreSQL may not enter %s", strconv.Quote(bin.dir)),
			Mend:    "use programs in a folder that every user may enter, or run as an ordinary user",
		}
	}
	p := &Postgres{opts: opts, bin: bin, as: as, port: opts.Port}
	if err := p.prepareDir(); err != nil {
		return nil, err
	}
	if err := p.begin(ctx); err != nil {
		p.discard()
		return nil, err
	}
	return p, nil
}

// begin makes the cluster when there is none and starts the server.
func (p *Postgres) begin(ctx context.Context) (err error) {
	if p.reaper, err = startReaper(p.dir, p.temporary); err != nil {
		return err
	}
	if err := p.initialise(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.start(ctx)
}

// Version returns the server's version, such as "15.8".
func (p *Postgres) Version() string { return p.bin.version }

// BinDir returns the folder of the server's programs.
func (p *Postgres) BinDir() string { return p.bin.dir }

// Dir returns the folder that holds the cluster, its socket and its log.
func (p *Postgres) Dir() string { return p.dir }

// Port returns the TCP port on 127.0.0.1.
func (p *Postgres) Port() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.port
}

// LogFile returns the path of the server's log.
func (p *Postgres) LogFile() string { return filepath.Join(p.dir, "postgres.log") }

// DSN returns the connection URL of a database for the superuser.
func (p *Postgres) DSN(db string) string {
	return p.dsn(db, p.Port())
}

func (p *Postgres) dsn(db string, port int) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.User(p.opts.User),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		Path:     "/" + db,
		RawQuery: "sslmode=disable",
	}
	if p.opts.Password != "" {
		u.User = url.UserPassword(p.opts.User, p.opts.Password)
	}
	return u.String()
}

// Stop ends the server in an orderly way, ends all its connections, and
// removes the directory if it is temporary. When ctx ends, or clients that
// replicate do not let go for ten seconds, the server is ended at once
// instead. A second Stop does nothing.
func (p *Postgres) Stop(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return nil
	}
	p.stopped = true
	p.halt(ctx, syscall.SIGINT)
	p.reaper.dismiss()
	if !p.temporary {
		return nil
	}
	if err := os.RemoveAll(p.dir); err != nil {
		return fmt.Errorf("removing the private PostgreSQL cluster: %w", err)
	}
	return nil
}

// Crash ends the server at once and without a checkpoint, as a power cut
// would end its processes; Restart brings it back through crash recovery. The
// signal is SIGQUIT (the server ends its own processes) or SIGKILL (only the
// parent dies, the others notice).
func (p *Postgres) Crash(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proc == nil {
		return
	}
	p.proc.signal(sig)
	<-p.proc.done
	p.proc = nil
}

// Restart stops the server fast if it runs, and starts it on the same port.
func (p *Postgres) Restart(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return errors.New("restarting PostgreSQL: it was stopped for good")
	}
	p.halt(ctx, syscall.SIGINT)
	return p.start(ctx)
}

// halt ends the running server, with more and more force. The caller holds mu.
func (p *Postgres) halt(ctx context.Context, first syscall.Signal) {
	if p.proc == nil {
		return
	}
	within := stopPatience
	if deadline, ok := ctx.Deadline(); ok {
		within = time.Until(deadline)
	}
	patience := time.NewTimer(within)
	defer patience.Stop()
	p.proc.signal(first)
	select {
	case <-p.proc.done:
	case <-ctx.Done():
	case <-patience.C:
	}
	// The server itself follows an immediate stop with SIGKILL after five
	// seconds, so this wait ends.
	p.proc.signal(syscall.SIGQUIT)
	<-p.proc.done
	p.proc = nil
}

// discard undoes a start that failed.
func (p *Postgres) discard() {
	if p.reaper != nil {
		p.reaper.dismiss()
	}
	if p.temporary {
		_ = os.RemoveAll(p.dir) // The start's own error is the one to report.
	}
}
