package postgres

import (
	"context"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// sessionSettings are pinned on every connection, because they shape the text form
// of values: a database or role may have others.
func sessionSettings() map[string]string {
	return map[string]string{
		"datestyle": "ISO, MDY", "intervalstyle": "iso_8601", "bytea_output": "hex", "extra_float_digits": "3", "timezone": "UTC",
		"client_encoding": "UTF8", "xmlbinary": "base64",
		// A policy that hides rows from the snapshot but not from the log must be an
		// error, not a difference.
		"row_security":      "off",
		"statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0",
	}
}

// over has connections opened by dial, unless it is nil.
func (s *settings) over(dial Dial) {
	if dial != nil {
		s.dial = dial
	}
}

// db is an ordinary connection. It belongs to one goroutine at a time.
type db struct {
	*pgconn.PgConn
	published string // The publication, which tells whether generated columns are in the log.
}

// connect opens a connection; application tells the server who we are.
func (s *settings) connect(ctx context.Context, application string, replication bool) (*pgconn.PgConn, error) {
	var dsn strings.Builder
	add := func(name, value string) {
		if value != "" {
			dsn.WriteString(name + "='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "' ")
		}
	}
	add("host", s.host)
	add("port", s.port)
	add("target_session_attrs", s.role)
	add("user", s.user)
	add("dbname", s.database)
	for name, value := range s.ssl {
		add(name, value)
	}
	// What the settings do not name is not taken from the surroundings of the worker,
	// which are not the connector's: its owner could have it sent anywhere.
	dsn.WriteString("passfile='' sslcert='' sslkey='' ")
	// Passwords are no part of the text, which errors may show.
	config, err := pgconn.ParseConfig(dsn.String())
	if err != nil {
		return nil, fatal("pg.config", "the connection's settings do not fit together", err, "check the settings that begin with database.")
	}
	if err := s.identity(config); err != nil {
		return nil, err
	}
	config.Password, _ = s.secrets.now()
	config.RuntimeParams = sessionSettings()
	if s.options != "" {
		config.RuntimeParams["options"] = s.options
	}
	config.RuntimeParams["application_name"] = application
	if replication {
		config.RuntimeParams["replication"] = "database"
	}
	config.ConnectTimeout, config.DialFunc = s.connectTimeout, pgconn.DialFunc(s.dial)
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		doing := "connecting to " + s.address()
		if e := wrongRole(err, doing); e != nil {
			return nil, e
		}
		return nil, s.refused(err, doing)
	}
	if err := sendAsStored(ctx, conn); err != nil {
		return nil, err
	}
	return conn, nil
}

// open opens an ordinary connection and runs database.initial.statements.
func (s *settings) open(ctx context.Context, application string) (*db, error) {
	conn, err := s.connect(ctx, application, false)
	if err != nil {
		return nil, err
	}
	d := &db{PgConn: conn, published: s.publication}
	for _, statement := range s.initialStatements {
		if err := d.exec(ctx, statement); err != nil {
			d.close(ctx)
			return nil, explain(err, "running database.initial.statements")
		}
	}
	return d, nil
}

// close ends the connection; it is safe on nil.
func (d *db) close(ctx context.Context) {
	if d != nil && d.PgConn != nil {
		// The server notices by itself when the goodbye does not arrive.
		_ = d.Close(ctx)
	}
}

// exec runs statements without parameters.
func (d *db) exec(ctx context.Context, sql string) error {
	_, err := d.Exec(ctx, sql).ReadAll()
	return err
}

// rows runs one query and returns all its rows as text; SQL's null is nil.
func (d *db) rows(ctx context.Context, sql string, args ...string) ([][][]byte, error) {
	params := make([][]byte, len(args))
	for i, a := range args {
		params[i] = []byte(a)
	}
	result := d.ExecParams(ctx, sql, params, nil, nil, nil).Read()
	return result.Rows, result.Err
}

// row returns the first row, nil when there is none.
func (d *db) row(ctx context.Context, sql string, args ...string) ([][]byte, error) {
	rows, err := d.rows(ctx, sql, args...)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0], nil
}

// truth reads a boolean.
func truth(b []byte) bool { return len(b) == 1 && b[0] == 't' }

// number reads an integer, 0 when there is none.
func number(b []byte) int64 {
	n, _ := strconv.ParseInt(string(b), 10, 64)
	return n
}
