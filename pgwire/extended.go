package pgwire

import (
	"context"
	"errors"
	"runtime/debug"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tidemill/tidemill/streams/sql"
)

// maxPrepared is how many statements, and how many portals, a session may have at a time.
const maxPrepared = 1000

// prepared is a statement that a client has given a name.
type prepared struct {
	st *statement // nil for an empty one.
	// parameters are the types of $1 and so on.
	parameters []oid
	// fields are those of the result, nil for none.
	fields []pgproto3.FieldDescription
}

// portal is a prepared statement with its arguments, which is executed in one go or by parts.
type portal struct {
	*prepared
	args    []sql.Argument
	formats []int16 // Of the columns of the result.
	run     *run    // nil before it is executed.
}

// run is the execution of a portal, in a goroutine of its own: it goes on while an Execute waits
// for it, and stands still between two of them.
type run struct {
	to     *result
	cancel context.CancelFunc
	parts  chan int      // How many rows the next part may have; 0 for all.
	paused chan struct{} // The part is full, and there is another row.
	done   chan error
	over   bool
}

// extended answers the messages of the extended protocol. After an error nothing is done until
// the client synchronizes.
func (s *session) extended(ctx context.Context, m pgproto3.FrontendMessage) error {
	if sync, ok := m.(*pgproto3.Sync); ok && sync != nil {
		s.skipping = false
		return s.ready()
	}
	if s.skipping {
		return nil
	}
	var of *statement
	var err error
	switch m := m.(type) {
	case *pgproto3.Parse:
		of, err = s.parse(m)
	case *pgproto3.Bind:
		err = s.bind(m)
	case *pgproto3.Describe:
		err = s.describe(m)
	case *pgproto3.Execute:
		of, err = s.executePortal(ctx, m)
	case *pgproto3.Close:
		s.forget(m.ObjectType, m.Name)
		err = s.send(&pgproto3.CloseComplete{})
	case *pgproto3.Flush:
		return s.out.Flush()
	default:
		err = refuse(stateUnsupported, "this part of the protocol is not spoken here", "")
	}
	if ctx.Err() != nil {
		return nil // The client is gone, or the server stops.
	}
	if failed := s.out.err(); failed != nil || err == nil {
		return failed
	}
	s.skipping = true
	return s.send(s.response(err, of))
}

// parse prepares a statement.
func (s *session) parse(m *pgproto3.Parse) (*statement, error) {
	s.server.o.Learn(m.Query)
	all := split(m.Query)
	if len(all) > 1 {
		return nil, refuse(stateSyntax, "cannot insert multiple commands into a prepared statement", "send them one by one")
	}
	if len(s.prepared) >= maxPrepared {
		return nil, refuse(stateTooLarge, "there are too many prepared statements", "close some")
	}
	p := &prepared{}
	if len(all) == 1 {
		p.st = &all[0]
		if err := s.prepare(p, m.ParameterOIDs); err != nil {
			return p.st, err
		}
	}
	s.prepared[m.Name] = p
	return nil, s.send(&pgproto3.ParseComplete{})
}

// prepare finds out what a statement takes and gives.
func (s *session) prepare(p *prepared, given []oid) error {
	p.parameters = given
	if t, made := s.made(p.st); made {
		p.fields = t.fields()
		return nil
	}
	switch p.st.word(0) {
	case "SELECT", "INSERT":
	case "SHOW", "LIST", "DESCRIBE", "EXPLAIN", "PRINT", "COPY":
		return refuse(stateUnsupported, p.st.word(0)+" is for the simple protocol", "send it without preparing it")
	default:
		return nil
	}
	request := s.request
	request.Text = p.st.text
	d, err := s.server.o.SQL.Prepare(request)
	if err != nil {
		return err
	}
	for len(p.parameters) < len(d.Parameters) {
		p.parameters = append(p.parameters, 0)
	}
	for i, t := range d.Parameters {
		if p.parameters[i] == 0 {
			p.parameters[i], _ = oidOf(t)
		}
	}
	for _, c := range d.Columns {
		p.fields = append(p.fields, describe(c))
	}
	return nil
}

// bind makes a portal of a prepared statement and its arguments.
func (s *session) bind(m *pgproto3.Bind) error {
	p := s.prepared[m.PreparedStatement]
	if p == nil {
		return refuse("26000", "prepared statement \""+m.PreparedStatement+"\" does not exist", "")
	}
	if len(s.portals) >= maxPrepared {
		return refuse(stateTooLarge, "there are too many portals", "close some")
	}
	if len(m.Parameters) != len(p.parameters) {
		return refuse(stateProtocol, "the number of arguments is not that of the statement's parameters", "")
	}
	if n := len(m.ResultFormatCodes); n > 1 && n != len(p.fields) {
		return refuse(stateProtocol, "the number of formats is not that of the result's columns", "")
	}
	to := &portal{prepared: p, formats: m.ResultFormatCodes}
	for i, raw := range m.Parameters {
		format := int16(pgproto3.TextFormat)
		switch n := len(m.ParameterFormatCodes); {
		case n == 1:
			format = m.ParameterFormatCodes[0]
		case i < n:
			format = m.ParameterFormatCodes[i]
		}
		arg, err := s.argument(p.parameters[i], format, raw)
		if err != nil {
			return err
		}
		to.args = append(to.args, arg)
	}
	s.forget('P', m.DestinationPortal)
	s.portals[m.DestinationPortal] = to
	return s.send(&pgproto3.BindComplete{})
}

// describe tells what a statement, or a portal, takes and gives.
func (s *session) describe(m *pgproto3.Describe) error {
	var p *prepared
	var formats []int16
	if m.ObjectType == 'S' {
		if p = s.prepared[m.Name]; p == nil {
			return refuse("26000", "prepared statement \""+m.Name+"\" does not exist", "")
		}
		if err := s.send(&pgproto3.ParameterDescription{ParameterOIDs: p.parameters}); err != nil {
			return err
		}
	} else {
		to := s.portals[m.Name]
		if to == nil {
			return refuse("34000", "portal \""+m.Name+"\" does not exist", "")
		}
		p, formats = to.prepared, to.formats
	}
	if p.fields == nil {
		return s.send(&pgproto3.NoData{})
	}
	fields := make([]pgproto3.FieldDescription, len(p.fields))
	for i, f := range p.fields {
		f.Format = formatOf(formats, i)
		fields[i] = f
	}
	return s.send(&pgproto3.RowDescription{Fields: fields})
}

// formatOf is the format of a column of a result.
func formatOf(formats []int16, column int) int16 {
	switch {
	case len(formats) == 1:
		return formats[0]
	case column < len(formats):
		return formats[column]
	}
	return pgproto3.TextFormat
}

// executePortal executes a portal, or the next part of it.
func (s *session) executePortal(ctx context.Context, m *pgproto3.Execute) (*statement, error) {
	p := s.portals[m.Portal]
	switch {
	case p == nil:
		return nil, refuse("34000", "portal \""+m.Portal+"\" does not exist", "")
	case p.st == nil:
		return nil, s.send(&pgproto3.EmptyQueryResponse{})
	case p.run == nil:
		p.start(ctx, s)
	case p.run.over:
		return nil, refuse("55000", "portal \""+m.Portal+"\" cannot be run again", "bind it anew")
	}
	r, parts := p.run, p.run.parts
	s.during(r.cancel)
	for {
		select {
		case parts <- int(m.MaxRows):
			parts = nil
		case <-r.paused:
			s.during(nil)
			return nil, s.send(&pgproto3.PortalSuspended{})
		case err := <-r.done: // Also of one that ended between two parts, with the session.
			r.over = true
			r.cancel()
			if s.during(nil) {
				err = refuse(stateCancelled, "canceling statement due to user request", "")
			}
			return p.st, err
		}
	}
}

// start has a portal executed; it waits until it is told how many rows are wanted.
func (p *portal) start(ctx context.Context, s *session) {
	ctx, cancel := context.WithCancel(ctx)
	r := &run{cancel: cancel, parts: make(chan int), paused: make(chan struct{}), done: make(chan error, 1)}
	r.to = &result{s: s, portal: p, run: r, ctx: ctx}
	p.run = r
	go func() {
		defer func() {
			if v := recover(); v != nil {
				s.server.log.Error("a query ended in a panic", "panic", v, "stack", string(debug.Stack()))
				r.done <- errors.New("the query ended in a panic")
			}
		}()
		select {
		case r.to.left = <-r.parts:
			r.done <- s.perform(ctx, p.st, r.to)
		case <-ctx.Done():
			r.done <- ctx.Err()
		}
	}()
}

// errClosed: the portal was closed before all its rows were taken.
var errClosed = errors.New("the portal is closed")

// pause waits, where a part is full, for the next one.
func (r *result) pause() error {
	if r.run == nil || r.left == 0 {
		return nil
	}
	if r.given < r.left {
		r.given++
		return nil
	}
	r.run.paused <- struct{}{} // An Execute waits for it.
	select {
	case r.left = <-r.run.parts:
		r.given = 1
		return nil
	case <-r.ctx.Done():
		return errClosed
	}
}

// forget closes a statement or a portal.
func (s *session) forget(kind byte, name string) {
	if kind == 'S' {
		delete(s.prepared, name)
		return
	}
	if p := s.portals[name]; p != nil && p.run != nil && !p.run.over {
		p.run.cancel()
		<-p.run.done
	}
	delete(s.portals, name)
}

// closePortals closes all portals, as the end of a transaction does.
func (s *session) closePortals() {
	for name := range s.portals {
		s.forget('P', name)
	}
}
