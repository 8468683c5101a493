package sim

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// server speaks PostgreSQL's protocol for a database, as far as the source uses it.
type server struct {
	db      *database
	net     *network
	address string
	host    string
	// starting makes it refuse logins, as it does while it recovers.
	starting bool
	mu       sync.Mutex // Guards what is above and below.
	listener net.Listener
	running  sync.WaitGroup
	oracle   func(confirmed uint64) // Hears of every position that is confirmed.
}

func newServer(db *database, n *network, host string, oracle func(uint64)) *server {
	return &server{db: db, net: n, host: host, address: host + ":5432", oracle: oracle}
}

// start opens the server's port.
func (s *server) start() error {
	l, err := s.net.listen("tcp", s.address)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.listener = l
	s.mu.Unlock()
	s.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.running.Go(func() { s.serve(c) })
		}
	})
	return nil
}

// stop closes the port and all connections.
func (s *server) stop() {
	s.mu.Lock()
	l := s.listener
	s.listener = nil
	s.mu.Unlock()
	if l != nil {
		_ = l.Close()
	}
	for _, l := range s.net.between("", s.host) {
		l.cut()
	}
}

// close stops for good and waits until all sessions have ended.
func (s *server) close() {
	s.stop()
	s.db.mu.Lock()
	s.db.life++
	s.db.changed.Broadcast()
	s.db.mu.Unlock()
	s.running.Wait()
}

// recovering has logins refused, or let in again.
func (s *server) recovering(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starting = yes
}

// session is one connection.
type session struct {
	*server
	conn        net.Conn
	pg          *pgproto3.Backend
	pid         uint32
	life        int
	application string
	replication bool
	prepared    map[string]string
	sql         string
	args        []string
	view        *view // Of a transaction that has taken over an exported snapshot.
	exported    string
	temporary   []string
}

func (s *server) serve(conn net.Conn) {
	defer conn.Close()
	ss := &session{server: s, conn: conn, pg: pgproto3.NewBackend(conn, conn), prepared: map[string]string{}}
	if !ss.login() {
		return
	}
	defer ss.leave()
	for {
		msg, err := ss.pg.Receive()
		if err != nil {
			return
		}
		if ss.handle(msg) != nil || ss.pg.Flush() != nil {
			return
		}
	}
}

// login greets a client.
func (ss *session) login() bool {
	for {
		msg, err := ss.pg.ReceiveStartupMessage()
		if err != nil {
			return false
		}
		switch m := msg.(type) {
		case *pgproto3.SSLRequest, *pgproto3.GSSEncRequest:
			if _, err := ss.conn.Write([]byte{'N'}); err != nil {
				return false
			}
		case *pgproto3.StartupMessage:
			ss.application, ss.replication = m.Parameters["application_name"], m.Parameters["replication"] == "database"
			return ss.greet()
		default: // A request to cancel: nothing here takes long.
			return false
		}
	}
}

func (ss *session) greet() bool {
	ss.mu.Lock()
	starting := ss.starting
	ss.mu.Unlock()
	if starting {
		ss.fail("57P03", "the database system is starting up")
		_ = ss.pg.Flush()
		return false
	}
	ss.db.mu.Lock()
	ss.db.nextPID++
	ss.pid, ss.life = ss.db.nextPID, ss.db.life
	ss.db.mu.Unlock()
	ss.pg.Send(&pgproto3.AuthenticationOk{})
	for _, p := range [][2]string{{"server_version", "15.8"}, {"server_encoding", "UTF8"}, {"client_encoding", "UTF8"}, {"standard_conforming_strings", "on"}, {"integer_datetimes", "on"}} {
		ss.pg.Send(&pgproto3.ParameterStatus{Name: p[0], Value: p[1]})
	}
	ss.pg.Send(&pgproto3.BackendKeyData{ProcessID: ss.pid, SecretKey: []byte{0, 0, 0, 1}})
	ss.ready()
	return ss.pg.Flush() == nil
}

// leave gives back what the session holds.
func (ss *session) leave() {
	ss.db.mu.Lock()
	defer ss.db.mu.Unlock()
	delete(ss.db.snapshots, ss.exported)
	if ss.life != ss.db.life {
		return
	}
	for _, name := range ss.temporary {
		delete(ss.db.slots, name)
	}
	for _, s := range ss.db.slots {
		if s.pid == ss.pid {
			s.pid = 0
		}
	}
}

func (ss *session) ready() { ss.pg.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'}) }

func (ss *session) fail(code, message string) {
	ss.pg.Send(&pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: code, Message: message})
}

// handle deals with one message of the client. An error ends the connection.
func (ss *session) handle(msg pgproto3.FrontendMessage) error {
	switch m := msg.(type) {
	case *pgproto3.Query:
		return ss.query(m.String)
	case *pgproto3.Parse:
		ss.prepared[m.Name] = m.Query
		ss.pg.Send(&pgproto3.ParseComplete{})
	case *pgproto3.Bind:
		ss.sql, ss.args = ss.prepared[m.PreparedStatement], nil
		for _, p := range m.Parameters {
			ss.args = append(ss.args, string(p))
		}
		ss.pg.Send(&pgproto3.BindComplete{})
	case *pgproto3.Describe:
		if m.ObjectType == 'S' {
			ss.describe(ss.prepared[m.Name])
		}
	case *pgproto3.Execute:
		ss.answer(ss.sql, ss.args)
	case *pgproto3.Sync:
		ss.ready()
	case *pgproto3.Close:
		ss.pg.Send(&pgproto3.CloseComplete{})
	case *pgproto3.Terminate:
		return net.ErrClosed
	}
	return nil
}

// query deals with a simple query, which may hold several statements.
func (ss *session) query(sql string) error {
	switch {
	case strings.HasPrefix(sql, "START_REPLICATION"):
		return ss.replicate(sql)
	case strings.HasPrefix(sql, "COPY "):
		ss.copy(sql)
	case strings.HasPrefix(sql, "COMMENT "): // Its text is free.
		ss.statement("COMMENT")
	case sql == "-- ping":
		ss.pg.Send(&pgproto3.EmptyQueryResponse{})
	default:
		for statement := range strings.SplitSeq(sql, "; ") {
			if !ss.statement(strings.TrimSuffix(statement, ";")) {
				break
			}
		}
	}
	ss.ready()
	return nil
}

// statement runs one that has no parameters and tells whether it could.
func (ss *session) statement(sql string) bool {
	verb, _, _ := strings.Cut(sql, " ")
	switch verb {
	case "SET":
		if name, ok := strings.CutPrefix(sql, "SET TRANSACTION SNAPSHOT "); ok && !ss.join(strings.Trim(name, "'")) {
			ss.fail("22023", "invalid snapshot identifier: "+name)
			return false
		}
	case "BEGIN", "COMMENT":
	case "COMMIT", "ROLLBACK":
		ss.view = nil
	case "CREATE", "ALTER":
		ss.publish(sql)
	case "DROP":
		ss.db.mu.Lock()
		clear(ss.db.published)
		ss.db.mu.Unlock()
	case "IDENTIFY_SYSTEM":
		ss.db.mu.Lock()
		end := ss.db.wal
		ss.db.mu.Unlock()
		ss.rows([][]any{{systemID, "1", lsn(end), "sim"}})
	case "CREATE_REPLICATION_SLOT":
		return ss.createSlot(sql)
	default:
		ss.answer(sql, nil)
		return true
	}
	if verb != "IDENTIFY_SYSTEM" {
		ss.pg.Send(&pgproto3.CommandComplete{CommandTag: []byte(verb)})
	}
	return true
}

// systemID is how the server names itself.
const systemID = "7300000000000000001"

// publish makes a publication or adds tables to it.
func (ss *session) publish(sql string) {
	words := strings.Fields(sql)
	ss.db.mu.Lock()
	defer ss.db.mu.Unlock()
	name := strings.Trim(words[2], `"`)
	if ss.db.published[name] == nil {
		ss.db.published[name] = map[uint32]bool{}
	}
	for _, t := range ss.db.tables {
		if strings.Contains(sql, `"public"."`+t.name+`"`) {
			ss.db.published[name][t.oid] = true
		}
	}
}

// createSlot makes a slot where no transaction is open that began before, and exports
// the view of that point.
func (ss *session) createSlot(sql string) bool {
	words := strings.Fields(sql)
	d := ss.db
	d.mu.Lock()
	defer d.mu.Unlock()
	name := strings.Trim(words[1], `"`)
	if d.slots[name] != nil {
		ss.fail("42710", fmt.Sprintf("replication slot %q already exists", name))
		return false
	}
	before := make([]*transaction, 0, len(d.open))
	for tx := range d.open {
		before = append(before, tx)
	}
	for _, tx := range before {
		for d.open[tx] && ss.life == d.life {
			d.changed.Wait()
		}
	}
	if ss.life != d.life {
		ss.fail("57P01", "terminating connection due to administrator command")
		return false
	}
	s := &slot{name: name, begin: d.wal, confirmed: d.wal, kept: d.wal, pid: ss.pid, temporary: words[2] == "TEMPORARY"}
	d.slots[name] = s
	d.begins = append(d.begins, s.begin)
	if s.temporary {
		ss.temporary = append(ss.temporary, name)
	} else {
		s.pid = 0
	}
	v := &view{rows: map[uint32]map[int64]row{}, txs: len(d.committed)}
	for _, t := range d.tables {
		v.rows[t.oid] = make(map[int64]row, len(t.rows))
		for id, r := range t.rows {
			v.rows[t.oid][id] = r
		}
	}
	ss.exported = fmt.Sprintf("0000000%d-1", ss.pid)
	d.snapshots[ss.exported] = v
	ss.rows([][]any{{name, lsn(s.begin), ss.exported, "pgoutput"}})
	return true
}

func (ss *session) join(snapshot string) bool {
	ss.db.mu.Lock()
	defer ss.db.mu.Unlock()
	ss.view = ss.db.snapshots[snapshot]
	return ss.view != nil
}

// rows sends rows of text; nil is SQL's null.
func (ss *session) rows(rows [][]any) {
	var fields []pgproto3.FieldDescription
	if len(rows) > 0 {
		for i := range rows[0] {
			fields = append(fields, pgproto3.FieldDescription{Name: fmt.Appendf(nil, "c%d", i), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1})
		}
	}
	ss.pg.Send(&pgproto3.RowDescription{Fields: fields})
	for _, r := range rows {
		values := make([][]byte, len(r))
		for i, v := range r {
			switch v := v.(type) {
			case nil:
			case bool:
				values[i] = []byte{"ft"[b2i(v)]}
			default:
				values[i] = fmt.Append(nil, v)
			}
		}
		ss.pg.Send(&pgproto3.DataRow{Values: values})
	}
	ss.pg.Send(&pgproto3.CommandComplete{CommandTag: fmt.Appendf(nil, "SELECT %d", len(rows))})
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// answer answers a query that the catalogue knows.
func (ss *session) answer(sql string, args []string) {
	for _, known := range catalogue {
		if strings.Contains(sql, known.part) {
			ss.db.mu.Lock()
			rows := known.answer(ss, args)
			ss.db.mu.Unlock()
			ss.rows(rows)
			return
		}
	}
	ss.db.note("query", "the fake server does not know the query: "+sql)
	ss.fail("0A000", "this query is not known here")
}

// describe tells the columns of a statement that reads rows.
func (ss *session) describe(sql string) {
	ss.pg.Send(&pgproto3.ParameterDescription{})
	var fields []pgproto3.FieldDescription
	for _, i := range selected(sql) {
		fields = append(fields, pgproto3.FieldDescription{Name: []byte(columns[i].name), DataTypeOID: columns[i].oid, DataTypeSize: -1, TypeModifier: -1})
	}
	ss.pg.Send(&pgproto3.RowDescription{Fields: fields})
}

// alive tells whether the server is still the one that the session logged in to; the
// caller holds the database's lock.
func (ss *session) alive() bool { return ss.life == ss.db.life }

// senderTimeout is wal_sender_timeout.
const senderTimeout = time.Minute
