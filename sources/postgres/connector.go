package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"net"

	"github.com/tidemill/tidemill/connect"
)

// Version is the version of the connector, which source blocks carry.
const Version = "0.1.0"

// Plugin is the entry for the list of plugins: Debezium's class name, so that its
// configurations work unchanged.
func Plugin() connect.Plugin[connect.SourceConnector] { return PluginVia(nil) }

// Dial opens a connection to a server, as [net.Dialer] does; network is tcp or unix.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// PluginVia is [Plugin] with connections that dial opens, for programs that reach the
// server by a way of their own; nil opens them over TCP or a Unix socket.
func PluginVia(dial Dial) connect.Plugin[connect.SourceConnector] {
	return connect.Plugin[connect.SourceConnector]{
		Class:   "io.debezium.connector.postgresql.PostgresConnector",
		Aliases: []string{"tidemill.PostgresSource", "PostgresSource"},
		Version: Version,
		Doc:     "Captures the rows and changes of PostgreSQL tables, from a consistent snapshot and the write-ahead log.",
		Config:  configDef(),
		New:     func() connect.SourceConnector { return &connector{dial: dial} },
	}
}

// connector plans the work: there is one slot, hence one task.
type connector struct {
	config connect.Config
	dial   Dial
}

// Start keeps the configuration.
func (c *connector) Start(_ context.Context, env connect.ConnectorEnv) error {
	c.config = env.Config
	_, err := newSettings(env.Config)
	return err
}

// TaskConfigs returns the one task's configuration.
func (c *connector) TaskConfigs(context.Context, int) ([]connect.Config, error) {
	return []connect.Config{c.config}, nil
}

// Stop has nothing to release.
func (c *connector) Stop(context.Context) error { return nil }

// NewTask returns a task.
func (c *connector) NewTask() connect.SourceTask { return &task{dial: c.dial} }

// ExactlyOnce is always possible: every record's position is one to resume from.
func (c *connector) ExactlyOnce(connect.Config) bool { return true }

// DefinesBoundaries tells that records carry the ends of their transactions.
func (c *connector) DefinesBoundaries(connect.Config) bool { return true }

// AlterOffsets checks that new offsets are ones to resume from. The slot keeps its
// place: what it has let go of cannot be read again, and the task says so when it
// starts.
func (c *connector) AlterOffsets(_ context.Context, config connect.Config, offsets map[connect.SourcePartition][]byte) (bool, error) {
	own, err := partition(config["topic.prefix"])
	if err != nil {
		return false, err
	}
	for p, text := range offsets {
		if p != own {
			return false, &connect.Error{Code: "pg.offset", Class: connect.ClassConfig, Place: p.JSON(),
				Message: "this connector has no such partition", Mend: "its only one is " + own.JSON()}
		}
		if _, err := parsePosition(text); err != nil {
			return false, err
		}
	}
	return false, nil
}

// Validate looks at the server and adds what stands in the way to the settings it
// has to do with. It changes nothing there.
func (c *connector) Validate(ctx context.Context, config connect.Config, values connect.ConfigValues) {
	parsed, err := configDef().Parse(config)
	if err != nil {
		return // The settings' own checks have said so.
	}
	set, err := buildSettings(parsed)
	if err != nil {
		if list, ok := errors.AsType[connect.Errors](err); ok {
			for _, e := range list {
				values.AddError(e.Place, e.Error())
			}
			return
		}
		values.AddError("topic.prefix", err.Error())
		return
	}
	set.over(c.dial)
	ctx, cancel := context.WithTimeout(ctx, parsed.Duration("connection.validation.timeout.ms"))
	defer cancel()
	app := application(config["name"])
	d, err := set.open(ctx, app+" (validation)")
	if err != nil {
		values.AddError(connectionKey(err), err.Error())
		return
	}
	defer d.close(context.WithoutCancel(ctx))
	p, err := set.examine(ctx, d, app)
	if err != nil {
		values.AddError(connectionKey(err), err.Error())
		return
	}
	for _, pr := range p.problems {
		values.AddError(pr.key, pr.err.Error())
	}
	for _, f := range p.notices {
		values.AddWarning(f.Setting, f.sentence())
	}
	if text, err := json.Marshal(p.findings()); err == nil && len(p.findings()) > 0 {
		if v := values["database.hostname"]; v != nil {
			v.Findings = text
		}
	}
	if v := values["table.include.list"]; v != nil {
		for _, t := range p.all {
			v.Recommended = append(v.Recommended, t.name.String())
		}
	}
}

// connectionKey returns the setting that an error of connecting has to do with.
func connectionKey(err error) string {
	switch connect.AsError(err).Code {
	case "pg.auth", "pg.role.connect":
		return "database.user"
	case "pg.tls.certificate":
		return connect.AsError(err).Place
	case "pg.database.missing":
		return "database.dbname"
	case "pg.tls":
		return "database.sslmode"
	}
	return "database.hostname"
}

// application is the name under which the server knows a connector.
func application(connector string) string {
	const most = 48
	name := "tidemill " + connector
	return name[:min(len(name), most)]
}
