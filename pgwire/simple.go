package pgwire

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tidemill/tidemill/rest/auth"
)

// query answers a text of any number of statements. The first that fails is the last.
func (s *session) query(ctx context.Context, text string) error {
	s.server.o.Learn(text)
	all := split(text)
	if len(all) == 0 {
		if err := s.send(&pgproto3.EmptyQueryResponse{}); err != nil {
			return err
		}
	}
	for i := range all {
		err := s.execute(ctx, &all[i], &result{s: s})
		if ctx.Err() != nil {
			return nil // The client is gone, or the server stops.
		}
		if err := s.out.err(); err != nil {
			return err
		}
		if err != nil {
			if err := s.send(s.response(err, &all[i])); err != nil {
				return err
			}
			break
		}
	}
	return s.ready()
}

// execute executes one statement and sends what it gives.
func (s *session) execute(ctx context.Context, st *statement, to *result) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s.during(stop)
	err := s.perform(ctx, st, to)
	if s.during(nil) {
		return refuse(stateCancelled, "canceling statement due to user request", "")
	}
	return err
}

func (s *session) perform(ctx context.Context, st *statement, to *result) error {
	if tag, answered, err := s.own(st, to); answered || err != nil {
		if err != nil {
			return err
		}
		return to.complete(tag)
	}
	switch st.word(0) {
	case "COPY":
		query, err := st.copied()
		if err != nil {
			return err
		}
		to.copying = true
		return s.ask(ctx, query, to)
	case "SELECT", "PRINT":
		return s.ask(ctx, st, to)
	case "SET", "UNSET", "DEFINE", "UNDEFINE":
		if err := s.request.Apply(st.text); err != nil {
			return err
		}
		return to.complete(st.word(0))
	}
	return s.change(ctx, st, to)
}

// ask answers a query.
func (s *session) ask(ctx context.Context, st *statement, to *result) error {
	if !s.who.MayAll(auth.Viewer) {
		return s.denied(st, auth.Viewer)
	}
	request := s.request
	request.Text, request.Arguments = st.text, to.args()
	_, err := s.server.o.SQL.Query(ctx, request, to)
	if err != nil {
		return err
	}
	return to.complete("SELECT")
}

// change executes a statement that is no query.
func (s *session) change(ctx context.Context, st *statement, to *result) (err error) {
	if !s.who.MayAll(auth.Admin) {
		return s.denied(st, auth.Admin)
	}
	tag, reads := st.word(0), false
	switch tag {
	case "SHOW", "LIST", "DESCRIBE", "EXPLAIN":
		reads = true
	default:
		if s.block {
			return refuse(stateTransaction, strings.TrimSpace(tag+" "+st.word(1))+" takes effect at once and cannot run in a transaction block", "send it outside of BEGIN and COMMIT")
		}
		began := time.Now()
		defer func() {
			outcome := "done"
			if err != nil {
				outcome = "failed"
			}
			s.audit(st.name(), outcome, time.Since(began), nil)
		}()
	}
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	request := s.request
	request.Text, request.Arguments = st.text, to.args()
	entities, err := s.server.o.SQL.Execute(ctx, request)
	if err != nil {
		return err
	}
	for _, e := range entities {
		headings, rows := e.Table()
		if !reads {
			err = s.notice(rows)
		} else {
			t := texts{rows: rows}
			for _, h := range headings {
				t.columns = append(t.columns, textColumn{h, oidText})
			}
			err = to.texts(t)
		}
		if err != nil {
			return err
		}
	}
	switch tag {
	case "INSERT":
		if st.values() {
			return to.complete("INSERT 0 1")
		}
	case "CREATE", "DROP", "ALTER":
		return to.complete(st.name())
	}
	return to.complete(tag)
}

// notice tells the client what a statement has done.
func (s *session) notice(rows [][]string) error {
	for _, row := range rows {
		text := s.redact(strings.Join(row, " "))
		if text == "" {
			continue
		}
		if err := s.send(&pgproto3.NoticeResponse{Severity: "NOTICE", SeverityUnlocalized: "NOTICE", Code: "00000", Message: text}); err != nil {
			return err
		}
	}
	return nil
}

// name is what a statement is called: its first words, without OR REPLACE.
func (st *statement) name() string {
	second := st.word(1)
	if second == "OR" && st.word(2) == "REPLACE" {
		second = st.word(3)
	}
	return strings.TrimSpace(st.word(0) + " " + second)
}

// denied tells that a role is needed, which goes into the audit log.
func (s *session) denied(st *statement, role auth.Role) error {
	s.audit(st.name(), "refused", 0, errors.New("the role does not allow it"))
	return refuse(stateDenied, "this needs the role "+role.String()+", for more than the connectors it is given for", "an administrator of the worker gives it in rest.roles")
}

// audit writes a line of the audit log. Of a statement it holds the words that say what it does,
// and not the texts and settings in it.
func (s *session) audit(action, outcome string, took time.Duration, reason error) {
	if s.server.o.Audit == nil {
		return
	}
	user, how := s.user, ""
	if s.who != nil {
		user, how = s.who.Name, s.who.Method
	}
	args := []any{"action", "pgwire", "outcome", outcome, "user", user, "how", how, "from", s.conn.RemoteAddr().String(), "ms", took.Milliseconds(), "statement", action}
	if reason != nil {
		args = append(args, "reason", strings.ReplaceAll(reason.Error(), "\n", ": "))
	}
	s.server.o.Audit.Info("audit", args...)
}
