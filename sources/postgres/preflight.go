package postgres

import (
	"context"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// problem is something on the other side that stands in the way, with the setting
// under which a validation reports it.
type problem struct {
	key string
	err *connect.Error
	// found is the finding it was made of, nil when there was only an error.
	found *Finding
}

// preflight collects everything that stands in the way, with what mends it, and what
// will bite later. It changes nothing.
type preflight struct {
	set      *settings
	db       *db
	app      string
	server   server
	facts    serverFacts
	role     roleFacts
	all      []catalogTable
	tables   []catalogTable
	wanted   []catalogTable // Those, and unlogged ones that are named: mended, they are captured too.
	viaRoot  bool
	slot     *slotInfo
	ours     bool // The slot is being read by this connector.
	problems []problem
	notices  []Finding // What does not stand in the way.
}

// check looks at the server. An error means that it could not look.
func (s *settings) check(ctx context.Context, d *db, app string) (*preflight, error) {
	p := &preflight{set: s, db: d, app: app}
	var err error
	if p.server, err = d.server(ctx); err != nil {
		return nil, err
	}
	if p.all, err = d.tables(ctx); err != nil {
		return nil, err
	}
	pub, err := d.publication(ctx, s.publication)
	if err != nil {
		return nil, err
	}
	p.tables, p.viaRoot = s.capture(p.all, pub)
	p.wanted, _ = s.capture(s.logged(p.all), pub)
	for _, look := range []func(context.Context) error{
		p.checkServer, p.checkNamed, p.checkRole, p.checkTables, p.checkCapture, p.checkDDL, p.checkPublication, p.checkSlots, p.checkLimits,
	} {
		if err := look(ctx); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// logged returns the tables with those that table.include.list names as logged ones.
func (s *settings) logged(all []catalogTable) []catalogTable {
	list := slices.Clone(all)
	for i, t := range list {
		list[i].logged = t.logged || slices.ContainsFunc(s.tableEntries, func(entry string) bool {
			return strings.EqualFold(strings.ReplaceAll(entry, `\.`, "."), t.name.String())
		})
	}
	return list
}

// examine looks closer than check does: it takes longer, and tells also what a start
// says by itself.
func (s *settings) examine(ctx context.Context, d *db, app string) (*preflight, error) {
	p, err := s.check(ctx, d, app)
	if err != nil {
		return nil, err
	}
	for _, look := range []func(context.Context) error{p.checkTypes, p.checkReplication, p.checkSurroundings} {
		if err := look(ctx); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// err returns the problems as one error, nil when there are none.
func (p *preflight) err() error {
	var list connect.Errors
	for _, pr := range p.problems {
		list = append(list, pr.err)
	}
	return list.OrNil()
}

// findings returns everything, the gravest first.
func (p *preflight) findings() []Finding {
	var list []Finding
	for _, pr := range p.problems {
		if pr.found != nil {
			list = append(list, *pr.found)
			continue
		}
		f := unopened(pr.err)
		f.Setting = pr.key
		list = append(list, f)
	}
	for _, severity := range []string{severityWarning, severityNote} {
		for _, f := range p.notices {
			if f.Severity == severity {
				list = append(list, f)
			}
		}
	}
	return list
}

// add reports what stands in the way and is an error already.
func (p *preflight) add(key string, err error) {
	p.problems = append(p.problems, problem{key: key, err: connect.AsError(err)})
}

// bearable tells whether a connector that has read everything once can go on: a table
// that was dropped since is no reason to stop reading the others, and the log is read
// without the rights that a snapshot needs.
func (pr *problem) bearable(when snapshotWhen) bool {
	switch pr.err.Code {
	case "pg.table.missing", "pg.table.unlogged", "pg.table.kind":
		return true
	case "pg.role.select", "pg.role.usage", "pg.row_security":
		return !when.always && !when.needed
	}
	return false
}

// fault reports what stands in the way.
func (p *preflight) fault(f Finding) {
	f.Severity = severityError
	p.problems = append(p.problems, problem{key: f.Setting, err: f.error(), found: &f})
}

// warn reports what works and will bite later.
func (p *preflight) warn(f Finding) {
	f.Severity = severityWarning
	p.notices = append(p.notices, f)
}

// note reports what is good to know.
func (p *preflight) note(f Finding) {
	f.Severity = severityNote
	p.notices = append(p.notices, f)
}

// warnings tells what will bite later, for the log.
func (p *preflight) warnings() (list []string) {
	for _, f := range p.notices {
		if f.Severity == severityWarning {
			list = append(list, f.sentence())
		}
	}
	return list
}

// sentence writes a finding for people: what, why and what mends it.
func (f *Finding) sentence() string {
	parts := []string{f.Code, f.What}
	if f.Place != "" {
		parts = []string{f.Code, f.Place, f.What}
	}
	if f.Why != "" {
		parts = append(parts, f.Why)
	}
	text := strings.Join(parts, ": ")
	if mend := f.mend(); mend != "" {
		text += " → " + mend
	}
	return text
}
