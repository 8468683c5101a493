package sql

import (
	"context"
	"errors"
	"strings"
)

// Execute executes a script and returns an entity for each statement. When one
// fails, those before it stay executed and their entities are returned with the
// error; nothing of the failed one is left. Faults of the text are of type *Error.
func (e *Engine) Execute(ctx context.Context, r Request) ([]Entity, error) {
	parts, _, err := Split(r.Text)
	if err != nil {
		return nil, err
	}
	s := newSession(r)
	var out []Entity
	for _, part := range parts {
		stmt, text, err := s.statement(part)
		if err == nil {
			var entity Entity
			if entity, err = e.execute(ctx, s, stmt, text); err == nil && entity != nil {
				out = append(out, entity)
			}
		}
		if err != nil {
			return out, inScript(err, r.Text, part)
		}
	}
	return out, nil
}

// inScript moves the place of a fault from its statement to the script.
func inScript(err error, script string, part Fragment) error {
	var f *Error
	if !errors.As(err, &f) || f.Line == 0 {
		return err
	}
	moved := *f
	moved.Line += strings.Count(script[:part.Offset], "\n")
	if f.Line == 1 {
		begin := strings.LastIndexByte(script[:part.Offset], '\n') + 1
		moved.Column += len([]rune(script[begin:part.Offset]))
	}
	if lines := strings.Split(script, "\n"); !strings.Contains(part.Text, "${") {
		moved.Source = strings.TrimRight(lines[moved.Line-1], "\r")
	}
	return &moved
}

// execute executes one statement.
func (e *Engine) execute(ctx context.Context, s *session, stmt Statement, text string) (Entity, error) {
	switch st := stmt.(type) {
	case *query:
		return nil, fault(text, st.span, "sql.use_query", "a SELECT by itself is a query and cannot be part of a script of statements", "send it to the query endpoint")
	case *printTopic:
		return nil, fault(text, st.span, "sql.use_query", "PRINT gives rows and cannot be part of a script of statements", "send it to the query endpoint")
	case *createSource, *createAs, *insertInto, *drop, *createType, *control, *alterSource:
		if d, ok := stmt.(*drop); ok && d.what == "CONNECTOR" {
			return e.dropConnector(ctx, d)
		}
		return e.change(ctx, s, stmt, text)
	case *insertValues:
		return e.insertValues(ctx, st, text)
	case *show:
		return e.show(ctx, s, st)
	case *describe:
		return e.describe(ctx, st, text)
	case *explain:
		return e.explain(st, text)
	case *set:
		return s.set(st)
	case *createConnector:
		return e.createConnector(ctx, st)
	}
	return nil, fault(text, span{0, len(text)}, "sql.unsupported", "this statement is understood, but cannot be executed here", "")
}

// change executes a statement that changes the catalog: it prepares everything
// that can fail, appends the command to the log, and then makes the change.
func (e *Engine) change(ctx context.Context, s *session, stmt Statement, text string) (Entity, error) {
	e.changing.Lock()
	defer e.changing.Unlock()
	prepared, err := e.prepare(ctx, s, stmt, text)
	if err != nil || prepared.done != nil {
		return prepared.done, err
	}
	if err := e.commit(ctx, prepared); err != nil {
		return nil, errors.Join(err, prepared.undo(ctx))
	}
	return prepared.entity, nil
}

// change is a statement whose effects are known and checked, but not made yet.
type change struct {
	command *command
	// apply changes the catalog; it is also what a replay does, and cannot fail.
	apply func(c *catalog)
	// after acts on what runs, once the catalog is changed. When it fails, and
	// revert is set, that statement takes the change back.
	after  func(ctx context.Context) error
	revert string
	// undos take back what preparing has done outside, the last first.
	undos  []func(ctx context.Context) error
	entity Entity
	// done is the answer of a statement that has nothing to change.
	done Entity
}

func (c *change) undo(ctx context.Context) error {
	var err error
	for i := len(c.undos) - 1; i >= 0; i-- {
		err = errors.Join(err, c.undos[i](ctx))
	}
	return err
}

// commit makes a prepared change lasting, then true.
func (e *Engine) commit(ctx context.Context, c *change) error {
	b, err := c.command.encode()
	if err != nil {
		return err
	}
	if err := e.config.Log.Append(ctx, b); err != nil {
		return &Error{Code: "sql.log", Message: "the statement could not be stored: " + err.Error(), Hint: "try again when the brokers can be reached"}
	}
	e.mu.Lock()
	c.apply(e.catalog)
	e.sequence++
	e.mu.Unlock()
	if c.after == nil {
		return nil
	}
	if err = c.after(ctx); err == nil || c.revert == "" {
		return err
	}
	return errors.Join(err, e.revert(ctx, c))
}

// revert takes back a change that could not be made true.
func (e *Engine) revert(ctx context.Context, c *change) error {
	back := &command{Sequence: e.sequence, Statement: c.revert}
	b, err := back.encode()
	if err == nil {
		err = e.config.Log.Append(ctx, b)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sequence++
	return errors.Join(err, e.replay(back))
}

// prepare checks a statement against the catalog and does what must be done before
// it can be made true.
func (e *Engine) prepare(ctx context.Context, s *session, stmt Statement, text string) (*change, error) {
	base := &change{command: &command{Sequence: e.sequence, Statement: stmt.String(), Properties: s.properties}}
	var err error
	switch st := stmt.(type) {
	case *createSource:
		err = e.prepareSource(ctx, base, st, text)
	case *createAs:
		err = e.prepareAs(ctx, base, st, text)
	case *insertInto:
		err = e.prepareInsert(ctx, base, st, text)
	case *drop:
		if st.what == "TYPE" {
			err = e.prepareDropType(base, st, text)
		} else {
			err = e.prepareDrop(base, st, text)
		}
	case *createType:
		err = e.prepareType(base, st, text)
	case *control:
		err = e.prepareControl(base, st, text)
	case *alterSource:
		err = e.prepareAlter(base, st, text)
	}
	if err != nil {
		return base, errors.Join(err, base.undo(ctx))
	}
	return base, nil
}
