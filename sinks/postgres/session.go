package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// session is the task's connection. It is opened when it is needed, and again after
// it was lost.
type session struct {
	config *pgconn.Config
	conn   *pgconn.PgConn
}

// ready opens the connection when there is none. opened tells whether it did, so
// that nothing learnt on the last one is relied on.
func (s *session) ready(ctx context.Context) (opened bool, err error) {
	if !s.lost() {
		return false, nil
	}
	s.conn, err = pgconn.ConnectConfig(ctx, s.config)
	if err != nil {
		s.conn = nil
		return false, explain(err, "")
	}
	return true, nil
}

// lost tells whether there is no connection any more.
func (s *session) lost() bool { return s.conn == nil || s.conn.IsClosed() }

// close closes the connection, if there is one.
func (s *session) close(ctx context.Context) error {
	if s.conn == nil {
		return nil
	}
	conn := s.conn
	s.conn = nil
	return conn.Close(ctx)
}

// simple runs statements without parameters or results, and leaves no transaction
// open.
func (s *session) simple(ctx context.Context, sql string) error {
	_, err := s.conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return errors.Join(err, s.rollback(ctx))
	}
	return nil
}

// rollback ends a transaction that failed, if one is open.
func (s *session) rollback(ctx context.Context) error {
	if s.lost() || s.conn.TxStatus() == 'I' {
		return nil
	}
	_, err := s.conn.Exec(ctx, "ROLLBACK").ReadAll()
	return err
}

// query runs one statement and returns all rows as text, null as empty. It is for
// the catalog and for positions, not for rows in number.
func (s *session) query(ctx context.Context, sql string, args ...string) ([][]string, error) {
	params := make([][]byte, len(args))
	for i, a := range args {
		params[i] = []byte(a)
	}
	// Parameters are told to be text, and cast where they are something else.
	oids := make([]uint32, len(args))
	for i := range oids {
		oids[i] = oidText
	}
	result := s.conn.ExecParams(ctx, sql, params, oids, nil, nil).Read()
	if result.Err != nil {
		return nil, result.Err
	}
	rows := make([][]string, len(result.Rows))
	for i, r := range result.Rows {
		rows[i] = make([]string, len(r))
		for j, v := range r {
			rows[i][j] = string(v)
		}
	}
	return rows, nil
}
