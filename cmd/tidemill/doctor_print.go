package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	pgsource "github.com/tidemill/tidemill/sources/postgres"
)

// severities are how findings are printed, the gravest first.
var severities = []struct{ name, heading, glyph string }{
	{"error", "stands in the way", glyphFail}, {"warning", "will bite later", glyphWarn}, {"note", "good to know", glyphNote},
}

// printDiagnosis prints what was found, by severity.
func (a *app) printDiagnosis(d *diagnosis, target string) {
	w := a.out
	fmt.Fprintln(w, strings.TrimSpace(d.Connector+"  "+d.Server+"  "+d.State))
	if d.Nothing != "" {
		fmt.Fprintln(w, "  "+d.Nothing)
	}
	for _, s := range severities {
		for _, f := range d.Findings {
			if f.Severity == s.name {
				fmt.Fprintf(w, " %s %s   %s\n", a.glyph(w, s.glyph), f.Code, printable(f.Place))
				printFinding(w, f)
			}
		}
	}
	d.printDetails(w)
	if d.Nothing != "" && len(d.Findings) == 0 {
		return
	}
	fmt.Fprintf(w, "Summary: %d errors, %d warnings, %d notes.", d.Errors, d.Warnings, d.Notes)
	if slices.ContainsFunc(d.Findings, func(f pgsource.Finding) bool { return len(f.SQL) > 0 }) {
		fmt.Fprintf(w, " `tidemill doctor %s --sql` prints what mends them as one script.", target)
	}
	fmt.Fprintln(w)
}

func printFinding(w io.Writer, f pgsource.Finding) {
	what := f.What
	if f.Why != "" {
		what += ": " + f.Why
	}
	fmt.Fprintf(w, "     %s\n", printable(what))
	for _, sql := range f.SQL {
		fmt.Fprintf(w, "     → %s;\n", printable(sql))
	}
	if f.Mend != "" {
		fmt.Fprintf(w, "     → %s\n", printable(f.Mend))
	}
}

// printable shows control characters, which names in a database may hold, as what
// they are.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '�'
		}
		return r
	}, text)
}

// printDetails prints what the tasks of a running connector show.
func (d *diagnosis) printDetails(w io.Writer) {
	for _, task := range d.Details {
		for _, name := range slices.Sorted(maps.Keys(task)) {
			document, ok := task[name].(map[string]any)
			if !ok {
				continue
			}
			fmt.Fprintf(w, " %s of task %v\n", name, task["id"])
			for _, key := range slices.Sorted(maps.Keys(document)) {
				text, isText := document[key].(string)
				if !isText {
					b, err := json.Marshal(document[key])
					if err != nil {
						continue
					}
					text = string(b)
				}
				fmt.Fprintf(w, "     %-26s %s\n", key, printable(text))
			}
		}
	}
}

// script prints the SQL of all findings, each under what it is for. What only words
// can say is a comment.
func (d *diagnosis) script(w io.Writer) {
	comment := func(text string) { fmt.Fprintln(w, "-- "+printable(text)) }
	comment("What mends the findings of tidemill doctor for " + d.Connector + " (" + d.Server + ").")
	comment("Run it as a superuser in the connector's database, one statement after the other: psql -f does.")
	if d.Nothing != "" {
		comment(d.Nothing)
	}
	for _, s := range severities {
		for _, f := range d.Findings {
			if f.Severity != s.name {
				continue
			}
			fmt.Fprintln(w)
			comment(f.Severity + " " + f.Code + ": " + f.What)
			if f.Why != "" {
				comment(f.Why)
			}
			for _, sql := range f.SQL {
				fmt.Fprintln(w, sql+";")
			}
			if f.Mend != "" {
				comment(f.Mend)
			}
		}
	}
}
