package storm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// patience is the longest that one transaction may take, other than by being held open.
const patience = time.Minute

// client is one session that writes one transaction after the other.
type client struct {
	storm  *Storm
	number int
	rng    *rand.Rand
	conn   *pgx.Conn   // Nil when there is none.
	others []*pgx.Conn // Of the interleaver.
	unsure int64       // The transaction whose commit was not answered.
	stop   <-chan struct{}
}

func newClient(s *Storm, number int) *client {
	return &client{storm: s, number: number, rng: rand.New(rand.NewPCG(uint64(s.opts.Seed), uint64(number+1)))}
}

// run writes until ctx is done, the transaction that is open then included.
func (c *client) run(ctx context.Context) error {
	defer c.close()
	c.stop = ctx.Done()
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(10*time.Second, cancel) })()
	for ctx.Err() == nil {
		began := time.Now()
		pause := time.Duration(0)
		if err := c.one(work); err != nil {
			if !passing(err) {
				return fmt.Errorf("client %d of the storm: %w", c.number, err)
			}
			c.storm.count(func(s *Stats) { s.Failed++ })
			if c.conn == nil || c.conn.IsClosed() {
				c.drop()
				pause = 20 * time.Millisecond
			}
		}
		if tps := c.storm.opts.TPS; tps > 0 {
			mean := float64(c.storm.opts.Clients) / tps * float64(time.Second)
			pause = max(pause, time.Duration(mean*(0.5+c.rng.Float64()))-time.Since(began))
		}
		if pause > 0 && rest(ctx, pause) != nil {
			return nil
		}
	}
	return nil
}

// one writes one transaction, whatever its end. errors.Is(err, errNothing) is none.
func (c *client) one(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience+c.storm.opts.Hold)
	defer cancel()
	if err := c.connect(ctx); err != nil {
		return err
	}
	pick := c.pick()
	if pick.alone != nil {
		return pick.alone(ctx, c)
	}
	t, err := begin(ctx, c.conn)
	if err != nil {
		return err
	}
	if err := pick.write(ctx, c, t); err != nil {
		return c.rollBack(ctx, t, err)
	}
	if c.chance(c.storm.opts.Die) {
		c.storm.count(func(s *Stats) { s.Died++ })
		c.cut()
		return nil
	}
	return c.end(ctx, t, c.conn, pick.name)
}

// end writes the manifest and ends the transaction.
func (c *client) end(ctx context.Context, t *transaction, conn *pgx.Conn, kind string) error {
	if err := t.manifest(ctx, kind); err != nil {
		return c.rollBack(ctx, t, err)
	}
	if kind != KindFinal && c.chance(c.storm.opts.Abort) {
		return c.rollBack(ctx, t, nil)
	}
	err := t.exec(ctx, "COMMIT")
	if err == nil {
		c.committed(t, kind)
		return nil
	}
	if conn.IsClosed() && c.unsure == 0 {
		c.unsure = t.xid
		c.storm.count(func(s *Stats) { s.Unsure++ })
	}
	return err
}

func (c *client) committed(t *transaction, kind string) {
	c.storm.count(func(s *Stats) {
		s.Committed++
		s.Events += int64(t.digest.N) + 1
		s.Templates[kind]++
	})
}

// rollBack ends a transaction that is not to be. A cause that is a wish of the storm or
// of the server's locks is not an error.
func (c *client) rollBack(ctx context.Context, t *transaction, cause error) error {
	if t.conn.IsClosed() {
		return cause
	}
	if err := t.exec(ctx, "ROLLBACK"); err != nil {
		return err
	}
	c.storm.count(func(s *Stats) { s.RolledBack++ })
	if errors.Is(cause, errNothing) {
		return nil
	}
	return cause
}

// connect opens the connection if there is none, and settles the commit that was not
// answered.
func (c *client) connect(ctx context.Context) error {
	if c.conn == nil {
		conn, err := c.open(ctx)
		if err != nil {
			return err
		}
		c.conn = conn
	}
	if c.unsure == 0 {
		return nil
	}
	t := &transaction{conn: c.conn.PgConn()}
	status, err := t.text(ctx, fmt.Sprintf("SELECT pg_xact_status('%d'::xid8)", c.unsure))
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused) && refused.Code == "22023":
		c.unsure = 0 // The server has crashed since and never knew of it: it was not written.
		return nil
	case err != nil && !errors.Is(err, errNothing):
		return err
	case status == "in progress":
		return rest(ctx, 5*time.Millisecond) // It is asked again with the next transaction.
	}
	_, err = t.text(ctx, fmt.Sprintf("SELECT 1 FROM manifest WHERE txid = %d", c.unsure))
	if err == nil {
		c.storm.count(func(s *Stats) { s.Settled++ })
	} else if !errors.Is(err, errNothing) {
		return err
	}
	c.unsure = 0
	return nil
}

// open opens a connection with the settings of a writer: locks are not waited for long.
func (c *client) open(ctx context.Context) (*pgx.Conn, error) {
	conn, err := c.storm.opts.Connect(ctx)
	if err != nil {
		return nil, err
	}
	c.storm.count(func(s *Stats) { s.Connections++ })
	if err := conn.PgConn().Exec(ctx, "SET lock_timeout = '3s'; SET timezone = 'UTC'; SET datestyle = 'ISO'; SET bytea_output = 'hex'; SET extra_float_digits = 1").Close(); err != nil {
		conn.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return conn, nil
}

// cut ends the connection without a word, as a client does that is killed.
func (c *client) cut() {
	if c.conn != nil {
		c.conn.PgConn().Conn().Close()
		c.drop()
	}
}

// drop forgets all connections.
func (c *client) drop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, conn := range append(c.others, c.conn) {
		if conn != nil {
			conn.Close(ctx)
		}
	}
	c.conn, c.others = nil, nil
}

func (c *client) close() { c.drop() }

// finish writes the last manifest.
func (c *client) finish(ctx context.Context) (int64, error) {
	if err := c.connect(ctx); err != nil {
		return 0, err
	}
	t, err := begin(ctx, c.conn)
	if err != nil {
		return 0, err
	}
	err = c.end(ctx, t, c.conn, KindFinal)
	return t.xid, err
}

// chance tells whether something of this probability is to happen.
func (c *client) chance(p float64) bool { return c.rng.Float64() < p }

// passing tells whether an error is one that a storm lives with: a server that is not
// there or goes away, and locks that others hold.
func passing(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch {
		case strings.HasPrefix(pg.Code, "08"), strings.HasPrefix(pg.Code, "40"), strings.HasPrefix(pg.Code, "53"),
			strings.HasPrefix(pg.Code, "57"), pg.Code == "55P03", pg.Code == "XX000" && strings.Contains(pg.Message, "concurrent"):
			return true
		case pg.Code == "42P01", pg.Code == "42703", pg.Code == "42701", pg.Code == "42P07": // Another client has changed the schema first.
			return true
		case pg.Code == "23505": // Another client has taken the key.
			return true
		}
		return false
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) || strings.Contains(err.Error(), "conn closed")
}
