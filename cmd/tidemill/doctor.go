package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/connect"
	pgsource "github.com/tidemill/tidemill/sources/postgres"
)

// doctorOptions are what doctor is asked for.
type doctorOptions struct {
	url      string // Of the worker, for connectors that run.
	settings string // The worker's settings, for the providers of secrets they declare.
	sql      bool
}

func (a *app) doctorCommand() *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor FILE|CONNECTOR",
		Short: "Look at a connector's database and say everything that is wrong, with the SQL that mends it",
		Long: `Looks at the database of a connector, which is a file (.json with or without "name" and "config", .properties, .yaml)
or the name of one that runs on a worker, and says what stands in the way, what will bite later and what is good to
know, each with a stable code and what mends it. Of a running connector it shows the replication slot and the snapshot
as well. Nothing is changed anywhere.

References such as ${env:PGPASSWORD} and ${file:/run/secrets/db.properties:password} in a file are resolved as a
worker does; -c names the worker's settings when they declare providers of their own.

It exits with 0 when nothing stands in the way, with 4 when something does, with 2 when there is nothing of that name
to look at, and with 3 when the worker cannot be reached.`,
		Example: `  tidemill doctor shop.json
  tidemill doctor shop.json --sql | psql -U postgres shop
  tidemill doctor shop --url http://127.0.0.1:8083 -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.doctor(cmd.Context(), args[0], o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.sql, "sql", false, "print the SQL that mends it as one script for psql")
	f.StringVar(&o.url, "url", "http://127.0.0.1:8083", "address of the worker, for a connector that runs")
	f.StringVarP(&o.settings, "config", "c", "", "the worker's settings, when they declare providers of secrets")
	return cmd
}

// unseen gives an error that kept a command from looking its exit code: as a rule what
// it was given is no good, unless the error says otherwise.
func unseen(err error) error {
	if _, decided := errors.AsType[*exitError](err); decided {
		return err
	}
	return badInput(err)
}

// diagnosis is what doctor says of one connector.
type diagnosis struct {
	Connector string             `json:"connector"`
	Server    string             `json:"server,omitempty"`
	Findings  []pgsource.Finding `json:"findings"`
	Errors    int                `json:"errors"`
	Warnings  int                `json:"warnings"`
	Notes     int                `json:"notes"`
	// State is that of a running connector, Details what its tasks show.
	State   string           `json:"state,omitempty"`
	Details []map[string]any `json:"details,omitempty"`
	// Nothing says that there is nothing to look at.
	Nothing string `json:"nothing,omitempty"`
}

func (a *app) doctor(ctx context.Context, target string, o doctorOptions) error {
	var list []*diagnosis
	var err error
	if isFile(target) {
		list, err = diagnoseFile(ctx, target, o.settings)
	} else {
		var one *diagnosis
		one, err = diagnoseRunning(ctx, newClient(o.url), target)
		list = []*diagnosis{one}
	}
	if err != nil {
		return unseen(err)
	}
	failed := 0
	for _, d := range list {
		d.count()
		failed += d.Errors
	}
	switch {
	case o.sql:
		for _, d := range list {
			d.script(a.out)
		}
	case a.json:
		writeJSON(a.out, map[string]any{"kind": "Diagnosis", "items": list})
	default:
		for _, d := range list {
			a.printDiagnosis(d, target)
		}
	}
	if failed > 0 {
		return no(&connect.Error{Code: "doctor.errors", Place: target, Message: fmt.Sprintf("%d things stand in the way", failed)})
	}
	return nil
}

// isFile tells a file from the name of a connector.
func isFile(target string) bool {
	if slices.Contains([]string{".json", ".properties", ".yaml", ".yml"}, filepath.Ext(target)) || strings.ContainsRune(target, filepath.Separator) {
		return true
	}
	info, err := os.Stat(target)
	return err == nil && info.Mode().IsRegular()
}

// diagnoseFile looks at the databases of the connectors in a file.
func diagnoseFile(ctx context.Context, path, settings string) ([]*diagnosis, error) {
	connectors, err := config.LoadConnectors(path)
	if err != nil {
		return nil, err
	}
	worker, err := loadSettings(settings)
	if err != nil {
		return nil, err
	}
	resolver, err := config.NewResolver(worker, config.NewRedactor())
	if err != nil {
		return nil, err
	}
	var list []*diagnosis
	for _, c := range connectors {
		resolved, err := resolver.Resolve(c.Config)
		if err != nil {
			return nil, err
		}
		// The server knows a connector by its name, as it does when a worker runs it.
		resolved["name"] = c.Name
		d := newDiagnosis(c.Name, resolved)
		list = append(list, d)
		if d.Nothing != "" {
			continue
		}
		found, err := pgsource.Diagnose(ctx, resolved)
		for _, e := range config.Faults(err) {
			found = append(found, pgsource.Finding{Code: e.Code, Severity: "error", Setting: e.Place, Place: e.Place, What: e.Message, Mend: e.Mend})
		}
		d.Findings = append(append(d.Findings, found...), plainSecrets(c.Config)...)
	}
	return list, nil
}

func newDiagnosis(name string, settings connect.Config) *diagnosis {
	d := &diagnosis{Connector: name, Findings: []pgsource.Finding{}}
	class := settings["connector.class"]
	p, err := connect.FindPlugin(plugins(nil).Sources, class)
	if err != nil || p.Class != pgsource.Plugin().Class {
		d.Nothing = "nothing to check beyond validate for connector.class=" + class
		return d
	}
	port := settings["database.port"]
	if port == "" {
		port = "5432"
	}
	d.Server = settings["database.user"] + "@" + settings["database.hostname"] + ":" + port + "/" + settings["database.dbname"]
	return d
}

func settingFinding(setting, text, code string) pgsource.Finding {
	what, mend, _ := strings.Cut(text, " → ")
	return pgsource.Finding{Code: code, Severity: "error", Setting: setting, What: strings.TrimPrefix(what, code+": "), Mend: mend}
}

// plainSecrets notes passwords that stand in the file itself.
func plainSecrets(written connect.Config) (list []pgsource.Finding) {
	for _, name := range slices.Sorted(maps.Keys(written)) {
		if text := written[name]; config.IsSecret(name) && text != "" && !strings.Contains(text, "${") {
			list = append(list, pgsource.Finding{Code: "config.secret.plain", Severity: "note", Setting: name, What: "the secret stands in the file itself",
				Why: "whoever can read the file has it", Mend: "write ${env:NAME} or ${file:/run/secrets/db.properties:key} in its place"})
		}
	}
	return list
}

func (d *diagnosis) count() {
	for _, f := range d.Findings {
		switch f.Severity {
		case "error":
			d.Errors++
		case "warning":
			d.Warnings++
		default:
			d.Notes++
		}
	}
}
