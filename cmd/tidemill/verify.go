package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/connect"
	pgsource "github.com/tidemill/tidemill/sources/postgres"
	"github.com/tidemill/tidemill/worker"
)

// verifyOptions are what verify is asked for.
type verifyOptions struct {
	url       string // Of the worker that runs the connector.
	settings  string // The worker's settings file.
	connector string // A file with the connector's configuration, for its secrets.
	brokers   string
	timeout   time.Duration
}

func (a *app) verifyCommand() *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify CONNECTOR",
		Short: "Compare what a connector has written to Kafka with its tables, at one position of the log",
		Long: `Compares the topics of a running PostgreSQL source with its tables: it opens a read-only transaction, waits until the
connector is past it, reads the topics from their beginning, applies every change that the transaction sees to its
row, and compares the result with the tables, row by row and column by column, whatever their types. Writers may go
on meanwhile; a snapshot that is being taken is waited for.

A row whose key was changed without its large values has none of them under its new key, and is different: replica
identity FULL or unavailable.value.mode=fill completes such rows.

The worker's settings (-c) say how to reach Kafka and which converters read the topics. Secrets that the worker does
not show are taken from --connector, a file with the connector's configuration, or from PGPASSWORD.

It exits with 0 when everything is equal, with 4 when something differs, and with 2 or 3 when it could not look.`,
		Example: `  tidemill verify shop -c connect-distributed.properties
  tidemill verify shop -c connect-distributed.properties --connector shop.json -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.verify(cmd.Context(), args[0], o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.url, "url", "http://127.0.0.1:8083", "address of the worker that runs the connector")
	f.StringVarP(&o.settings, "config", "c", "", "the worker's settings")
	f.StringVar(&o.connector, "connector", "", "file with the connector's configuration, for its secrets")
	f.StringVar(&o.brokers, "bootstrap-servers", "", "brokers, in the place of those of the worker's settings")
	f.DurationVar(&o.timeout, "timeout", 2*time.Minute, "how long to wait for the connector to get to the position")
	return cmd
}

// verification is what verify says of one connector.
type verification struct {
	Connector string          `json:"connector"`
	OK        bool            `json:"ok"`
	Position  string          `json:"position"`
	Records   int64           `json:"records"`
	Seconds   float64         `json:"seconds"`
	Tables    []verifiedTable `json:"tables"`
}

func (a *app) verify(ctx context.Context, name string, o verifyOptions) error {
	began := time.Now()
	v, err := newVerifier(ctx, name, o)
	if err != nil {
		return unseen(err)
	}
	defer v.close()
	result, err := v.run(ctx, o.timeout, func(text string) {
		if a.fancy(a.err) {
			fmt.Fprintf(a.err, "\r\033[K%s", text)
		}
	})
	if err != nil {
		return unseen(err)
	}
	result.Seconds = time.Since(began).Seconds()
	if a.json {
		writeJSON(a.out, map[string]any{"kind": "Verification", "verification": result})
	} else {
		a.printVerification(result)
	}
	if !result.OK {
		return no(&connect.Error{Code: "verify.differs", Place: name, Message: "the topics do not say what the tables say",
			Mend: "have the tables read again by an incremental snapshot: POST /connectors/" + name + `/signals {"id":"again","type":"execute-snapshot","data":{"type":"incremental","data-collections":["schema.table"]}}`})
	}
	return nil
}

// verifier compares one connector.
type verifier struct {
	name   string
	rest   *client
	config connect.Config // The connector's, references resolved.
	kafka  []kgo.Opt
	fold   *fold
	view   *pgsource.View
}

func newVerifier(ctx context.Context, name string, o verifyOptions) (v *verifier, err error) {
	v = &verifier{name: name, rest: newClient(o.url)}
	settings, err := loadSettings(o.settings)
	if err != nil {
		return nil, err
	}
	if o.brokers != "" {
		settings["bootstrap.servers"] = o.brokers
	}
	resolver, err := config.NewResolver(settings, config.NewRedactor())
	if err != nil {
		return nil, err
	}
	if settings, err = resolver.Resolve(settings); err != nil {
		return nil, err
	}
	if v.config, err = v.connectorConfig(ctx, o.connector); err != nil {
		return nil, err
	}
	if v.config, err = resolver.Resolve(v.config); err != nil {
		return nil, err
	}
	if p, err := connect.FindPlugin(plugins(nil).Sources, v.config["connector.class"]); err != nil || p.Class != pgsource.Plugin().Class {
		return nil, &connect.Error{Code: "verify.class", Place: name, Message: "only PostgreSQL sources can be compared with their tables, and this is " + v.config["connector.class"]}
	}
	if v.kafka, err = worker.ClientOptions(settings); err != nil {
		return nil, err
	}
	v.fold, err = newFold(settings, v.config)
	return v, err
}

func (v *verifier) close() {
	if v.view == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	v.view.Close(ctx)
}

// connectorConfig returns the connector's configuration: as the worker shows it, with
// the secrets of a file, if there is one.
func (v *verifier) connectorConfig(ctx context.Context, file string) (connect.Config, error) {
	var shown connect.Config
	if err := v.rest.call(ctx, http.MethodGet, "/connectors/"+url.PathEscape(v.name)+"/config", nil, &shown); err != nil {
		return nil, err
	}
	var own connect.Config
	if file != "" {
		list, err := config.LoadConnectors(file)
		if err != nil {
			return nil, err
		}
		for _, c := range list {
			if own == nil || c.Name == v.name {
				own = c.Config
			}
		}
	}
	for name, text := range shown {
		if !config.IsSecret(name) || strings.Contains(text, "${") {
			continue
		}
		if delete(shown, name); own[name] != "" {
			shown[name] = own[name]
		}
	}
	return shown, nil
}

// run compares. It tells progress now and then.
func (v *verifier) run(ctx context.Context, timeout time.Duration, tell func(string)) (*verification, error) {
	defer tell("")
	waiting, cancel := context.WithTimeoutCause(ctx, timeout, &connect.Error{Code: "verify.behind", Place: v.name,
		Message: "the connector did not get to a place where it can be compared in " + timeout.String(),
		Mend:    "look at GET /connectors/" + v.name + "/status; wait for snapshots to end, or give it more --timeout"})
	defer cancel()
	for {
		late, err := v.prepare(waiting, tell)
		if err == nil && !late {
			return v.compare(ctx, tell)
		}
		if cause := context.Cause(waiting); err != nil && cause != nil {
			err = cause
		}
		if err != nil {
			return nil, err
		}
	}
}

// prepare opens a view while no snapshot is taken and reads the topics. It returns true
// when a snapshot began behind the view: its rows may be later than the view's, and
// nothing in them tells.
func (v *verifier) prepare(ctx context.Context, tell func(string)) (late bool, err error) {
	v.close()
	if err := pgsource.Nudge(ctx, v.config); err != nil {
		return false, err
	}
	tell("waiting for the connector's snapshots to end")
	if err := v.until(ctx, pgsource.Settled); err != nil {
		return false, err
	}
	written, err := v.ends(ctx)
	if err != nil {
		return false, err
	}
	if v.view, err = pgsource.OpenView(ctx, v.config); err != nil {
		return false, err
	}
	tables, err := v.view.Tables(ctx)
	if err != nil {
		return false, err
	}
	if err := pgsource.Nudge(ctx, v.config); err != nil {
		return false, err
	}
	tell("waiting for the connector to pass " + v.view.Position())
	if err := v.until(ctx, v.view.Passed); err != nil {
		return false, err
	}
	topics, err := v.topics(ctx)
	if err != nil {
		return false, err
	}
	v.fold.begin(tables, v.view.Sees, written)
	err = v.fold.read(ctx, v.kafka, topics, tell)
	return v.fold.late, err
}

// topics returns those that the connector has written to.
func (v *verifier) topics(ctx context.Context) ([]string, error) {
	var active map[string]struct{ Topics []string }
	err := v.rest.call(ctx, http.MethodGet, "/connectors/"+url.PathEscape(v.name)+"/topics", nil, &active)
	return active[v.name].Topics, err
}

// ends returns where the connector's topics end now.
func (v *verifier) ends(ctx context.Context) (map[string]map[int32]int64, error) {
	topics, err := v.topics(ctx)
	if err != nil || len(topics) == 0 {
		return nil, err
	}
	_, ends, err := extent(ctx, v.kafka, topics)
	return ends, err
}

// compare holds what the topics came to against the view's tables.
func (v *verifier) compare(ctx context.Context, tell func(string)) (*verification, error) {
	result := &verification{Connector: v.name, OK: true, Position: v.view.Position(), Records: v.fold.records}
	for i, t := range v.fold.tables {
		tell("comparing " + t.table.Name)
		if err := v.view.Rows(ctx, i, t.compare); err != nil {
			return nil, err
		}
		done := t.result()
		result.OK = result.OK && done.equal()
		result.Tables = append(result.Tables, done)
	}
	return result, nil
}

// until waits for a stored offset of the connector that is as wanted.
func (v *verifier) until(ctx context.Context, wanted func(offset []byte) (bool, error)) error {
	return until(ctx, v.name, func() (bool, error) {
		status, err := v.rest.status(ctx, v.name)
		if err != nil {
			return false, err
		}
		if why, _, _ := strings.Cut(status.failed(), "\n"); why != "" {
			return false, &connect.Error{Code: "verify.failed", Place: v.name, Message: "the connector has failed: " + why}
		}
		var body struct{ Offsets []worker.OffsetEntry }
		if err := v.rest.call(ctx, http.MethodGet, "/connectors/"+url.PathEscape(v.name)+"/offsets", nil, &body); err != nil {
			return false, err
		}
		for _, o := range body.Offsets {
			if is, err := wanted(o.Offset); is || err != nil {
				return is, err
			}
		}
		return false, nil
	})
}

func (a *app) printVerification(v *verification) {
	for _, t := range v.Tables {
		glyph := glyphOK
		if !t.equal() {
			glyph = glyphFail
		}
		fmt.Fprintf(a.out, " %s %-40s %s\n", a.glyph(a.out, glyph), t.Name, t.String())
		for _, example := range t.Examples {
			fmt.Fprintf(a.out, "      %s\n", example)
		}
	}
	fmt.Fprintf(a.out, " at %s, from %d records, in %.1f s\n", v.Position, v.Records, v.Seconds)
}
