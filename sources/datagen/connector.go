package datagen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tidemill/tidemill/connect"
)

// The values of the setting shape.
const (
	shapeEnvelope = "envelope"
	shapeRow      = "row"
)

// Plugin returns the entry for the list of sources.
func Plugin() connect.Plugin[connect.SourceConnector] {
	return connect.Plugin[connect.SourceConnector]{
		Class:   "tidemill.Datagen",
		Aliases: []string{"io.confluent.kafka.connect.datagen.DatagenConnector"},
		Doc:     "Makes rows from nothing: orders, users, page views, an inventory.",
		Config:  configDef(),
		New:     func() connect.SourceConnector { return &connector{} },
	}
}

func configDef() *connect.ConfigDef {
	names := templateNames()
	key := func(k connect.ConfigKey) connect.ConfigKey {
		k.Group = "Datagen"
		return k
	}
	return connect.NewConfigDef(
		key(connect.ConfigKey{Name: "topic", Aliases: []string{"kafka.topic"}, Required: true, Importance: connect.High, Doc: "The topic to write to."}),
		key(connect.ConfigKey{
			Name: "quickstart", Aliases: []string{"template"}, Default: names[0], Check: connect.OneOf(names...), Importance: connect.High,
			Doc: "The table to make rows of.", Recommend: func(connect.Settings) []string { return names },
		}),
		key(connect.ConfigKey{Name: "rate", Type: connect.TypeDouble, Default: "10", Check: notNegative(), Importance: connect.High, Doc: "Rows per second; 0 makes none, and more than there is time for are made as fast as it goes."}),
		key(connect.ConfigKey{Name: "rows", Aliases: []string{"iterations"}, Type: connect.TypeLong, Default: "0", Importance: connect.High, Doc: "How many rows to make in all; 0 or less is without end."}),
		key(connect.ConfigKey{Name: "seed", Aliases: []string{"random.seed"}, Type: connect.TypeLong, Default: "0", Importance: connect.Medium, Doc: "The same seed gives the same rows."}),
		key(connect.ConfigKey{Name: "keys", Type: connect.TypeInt, Optional: true, Check: connect.Between(0, 1<<31-1), Importance: connect.Medium, Doc: "How many distinct keys there are, which are then changed over and over; 0 gives each row a new one. Unless set, the table decides."}),
		key(connect.ConfigKey{Name: "delete.percent", Type: connect.TypeDouble, Default: "0", Check: percent(), Importance: connect.Low, Doc: "How many in a hundred changes are deletes. A deleted row comes back when its key has its turn again."}),
		key(connect.ConfigKey{Name: "shape", Default: shapeEnvelope, Check: connect.OneOf(shapeEnvelope, shapeRow), Importance: connect.Medium, Doc: "envelope writes changes with before and after, as Debezium does; row writes the row alone, and a null value for a delete.",
			Recommend: func(connect.Settings) []string { return []string{shapeEnvelope, shapeRow} }}),
		key(connect.ConfigKey{Name: "start.time.ms", Type: connect.TypeLong, Default: "1704067200000", Importance: connect.Low, Doc: "The time in the first row, in milliseconds since the epoch. Times in rows are made as well: each row is one step later."}),
		key(connect.ConfigKey{Name: "step.ms", Type: connect.TypeLong, Default: "1000", Check: connect.Between(0, 1<<40), Importance: connect.Low, Doc: "The time between two rows, as their content has it, in milliseconds."}),
		key(connect.ConfigKey{Name: "max.interval", Type: connect.TypeLong, Optional: true, Check: connect.Between(1, 1<<40), Importance: connect.Low, Doc: "Confluent's way to say the rate: the longest wait between two rows in milliseconds, half of it on average. Not understood together with rate."}),
	)
}

func notNegative() connect.Check {
	return connect.CheckText(func(text string) error {
		var f float64
		if _, err := fmt.Sscan(text, &f); err == nil && f >= 0 && f <= 1e9 {
			return nil
		}
		return errors.New("Value must be from 0 to 1000000000")
	})
}

func percent() connect.Check {
	return connect.CheckText(func(text string) error {
		var f float64
		if _, err := fmt.Sscan(text, &f); err == nil && f >= 0 && f <= 100 {
			return nil
		}
		return errors.New("Value must be from 0 to 100")
	})
}

// parse reads the settings. Those of the framework, which were checked elsewhere,
// are passed over.
func parse(config connect.Config) (connect.Settings, error) {
	s, err := configDef().OpenTo(func(string) bool { return true }).Parse(config)
	if err == nil && s.Given("rate") && s.Given("max.interval") {
		err = connect.ConfigError("max.interval", "rate and max.interval contradict each other: leave one out")
	}
	return s, err
}

type connector struct{ config connect.Config }

// Start implements connect.Connector.
func (c *connector) Start(_ context.Context, env connect.ConnectorEnv) error {
	if _, err := parse(env.Config); err != nil {
		return err
	}
	c.config = env.Config
	return nil
}

// TaskConfigs gives one task, since there is one order of rows.
func (c *connector) TaskConfigs(context.Context, int) ([]connect.Config, error) {
	return []connect.Config{c.config}, nil
}

// Stop implements connect.Connector.
func (c *connector) Stop(context.Context) error { return nil }

// NewTask implements connect.SourceConnector.
func (c *connector) NewTask() connect.SourceTask { return &task{} }

// ExactlyOnce implements connect.ExactlyOnceSource: a position leads to the very
// next record.
func (c *connector) ExactlyOnce(connect.Config) bool { return true }

// DefinesBoundaries implements connect.ExactlyOnceSource.
func (c *connector) DefinesBoundaries(connect.Config) bool { return false }

// Validate implements connect.Validator.
func (c *connector) Validate(_ context.Context, config connect.Config, values connect.ConfigValues) {
	if _, err := parse(config); err != nil {
		if e := connect.AsError(err); e.Place == "max.interval" && len(values[e.Place].Errors) == 0 {
			values.AddError(e.Place, e.Message)
		}
	}
}

// AlterOffsets implements connect.OffsetAlterer: it looks at the new positions, and
// leaves keeping them to the worker.
func (c *connector) AlterOffsets(_ context.Context, _ connect.Config, offsets map[connect.SourcePartition][]byte) (bool, error) {
	for p, o := range offsets {
		if _, err := parsePosition(o); err != nil {
			return false, &connect.Error{Code: "datagen.offset", Class: connect.ClassConfig, Place: p.JSON(), Message: "this is no position", Mend: `write {"row": 42}`, Cause: err}
		}
	}
	return false, nil
}

// parsePosition reads a stored offset; none, or null, is the beginning.
func parsePosition(text []byte) (position, error) {
	if len(text) == 0 || string(text) == "null" {
		return position{}, nil
	}
	var stored struct {
		Row       *uint64 `json:"row"`
		Tombstone bool    `json:"tombstone"`
	}
	if err := json.Unmarshal(text, &stored); err != nil {
		return position{}, fmt.Errorf("offset %s: %w", text, err)
	}
	if stored.Row == nil || *stored.Row == 0 && stored.Tombstone {
		return position{}, fmt.Errorf("offset %s names no row", text)
	}
	return position{row: *stored.Row, tombstone: stored.Tombstone}, nil
}

// Retire has nothing to tell: rows that are made up leave nothing behind.
func (c *connector) Retire(context.Context, connect.Config, bool) (string, error) { return "", nil }

// Remedy knows none: a generator loses nothing.
func (c *connector) Remedy(_ context.Context, _ connect.Config, name string, _ map[connect.SourcePartition][]byte) (map[connect.SourcePartition][]byte, string, error) {
	return nil, "", &connect.Error{Code: "remedy.unknown", Class: connect.ClassConfig, Place: name, Message: "this connector needs no remedies and has none"}
}
