package postgres

import (
	"context"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// Finding is one thing that a look at the server has to say.
type Finding struct {
	// Code is stable, lower-case and dotted, such as "pg.wal_level".
	Code string `json:"code"`
	// Severity is error (it will not work), warning (it works and will bite later) or
	// note.
	Severity string `json:"severity"`
	// Setting is the setting it has to do with.
	Setting string `json:"setting,omitempty"`
	// Place is what it is about: a slot, a publication, a table.
	Place string `json:"place,omitempty"`
	// What is what was found, Why the reason that it matters.
	What string `json:"what"`
	Why  string `json:"why,omitempty"`
	// Mend tells in words what puts it right, when SQL alone does not.
	Mend string `json:"mend,omitempty"`
	// SQL are the statements that put it right, for a superuser in the connector's
	// database. They are safe to run: nothing is dropped and nobody's work is ended.
	SQL []string `json:"sql,omitempty"`
}

// The severities of findings, the gravest first.
const (
	severityError   = "error"
	severityWarning = "warning"
	severityNote    = "note"
)

// mend is all that puts it right, as one text.
func (f *Finding) mend() string {
	text := strings.Join(f.SQL, "; ")
	switch {
	case text == "":
		return f.Mend
	case f.Mend == "":
		return text
	}
	return text + " (" + f.Mend + ")"
}

// String writes the finding as errors are written.
func (f *Finding) String() string { return f.error().Error() }

func (f *Finding) error() *connect.Error {
	e := fatal(f.Code, f.What, nil, f.mend())
	if e.Place = f.Place; f.Code == "pg.limit" {
		e.Class = connect.ClassRetriable // Somebody may make room.
	}
	return e
}

// Diagnose looks at the server a configuration names and returns everything that
// stands in the way or will bite later, the gravest first. References such as
// ${env:…} must have been resolved. It changes nothing on the server. A server that
// cannot be reached or refuses the login is a finding as well. The error is that of
// the configuration, as [connect.Errors], and then there are no findings.
func Diagnose(ctx context.Context, config connect.Config) ([]Finding, error) {
	set, err := newSettings(config)
	if err != nil {
		return nil, err
	}
	app := application(config["name"])
	d, err := set.open(ctx, app+" (doctor)")
	if err != nil {
		return []Finding{unopened(err)}, nil
	}
	defer d.close(context.WithoutCancel(ctx))
	p, err := set.examine(ctx, d, app)
	if err != nil {
		return []Finding{unopened(err)}, nil
	}
	return p.findings(), nil
}

// unopened is the finding for a server that could not be looked at.
func unopened(err error) Finding {
	e := connect.AsError(err)
	f := Finding{Code: e.Code, Severity: severityError, Setting: connectionKey(err), Place: e.Place, What: e.Message, Mend: e.Mend}
	if strings.HasPrefix(e.Mend, "GRANT ") || strings.HasPrefix(e.Mend, "ALTER ROLE ") {
		f.SQL, f.Mend = []string{e.Mend}, ""
	}
	if e.Cause != nil {
		f.What = strings.TrimPrefix(f.What+": "+e.Cause.Error(), ": ")
	}
	return f
}
