package postgres

import (
	"encoding/hex"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// The settings' names, where they are used more than once.
const (
	keyURL      = "connection.url"
	keyUser     = "connection.username"
	keyPassword = "connection.password"
	keyInsert   = "insert.mode"
	keyDelete   = "delete.enabled"
	keyPKMode   = "primary.key.mode"
	keyPKFields = "primary.key.fields"
	keyEvolve   = "schema.evolution"
	keyFormat   = "collection.name.format"
	keyOffsets  = "offsets.table"
)

// The values of insert.mode and primary.key.mode.
const (
	modeUpsert  = "upsert"
	modeInsert  = "insert"
	pkKey       = "record_key"
	pkValue     = "record_value"
	pkNone      = "none"
	evolveBasic = "basic"
	evolveNone  = "none"
)

const placeholderText = "__debezium_unavailable_value"

// defaults are where the plugin's two classes differ.
type defaults struct {
	insert, pk, evolve string
	deletes, truncates string
}

// ours keep a table equal to its topic with nothing more than a URL.
func ours() defaults { return defaults{modeUpsert, pkKey, evolveBasic, "true", "true"} }

// jdbc are those of the JDBC sink connectors, so that a configuration made for them
// does what it did there.
func jdbc() defaults { return defaults{modeInsert, pkNone, evolveNone, "false", "false"} }

func configDef(d defaults) *connect.ConfigDef {
	return connect.NewConfigDef(append(append(connectionKeys(), writingKeys(d)...), withoutEffect()...)...)
}

func connectionKeys() []connect.ConfigKey {
	const group = "Connection"
	return []connect.ConfigKey{
		{Name: keyURL, Required: true, Check: connect.CheckText(checkURL), Importance: connect.High, Group: group, DisplayName: "URL",
			Doc: "The target database: postgres://host:5432/name or jdbc:postgresql://host:5432/name."},
		{Name: keyUser, Aliases: []string{"connection.user"}, Optional: true, Importance: connect.High, Group: group, DisplayName: "User", Doc: "The user to log in as."},
		{Name: keyPassword, Type: connect.TypePassword, Optional: true, Importance: connect.High, Group: group, DisplayName: "Password", Doc: "The user's password."},
	}
}

func writingKeys(d defaults) []connect.ConfigKey {
	keys := []connect.ConfigKey{
		{Name: keyInsert, Default: d.insert, Check: connect.OneOf(modeUpsert, modeInsert), Importance: connect.High,
			Doc: "upsert inserts a row or updates the one with its key. insert always inserts.", Dependents: []string{keyPKMode}, Recommend: words(modeUpsert, modeInsert)},
		{Name: keyDelete, Type: connect.TypeBoolean, Default: d.deletes, Importance: connect.High, Doc: "Whether deletes and tombstones delete the row with their key."},
		{Name: "truncate.enabled", Type: connect.TypeBoolean, Default: d.truncates, Importance: connect.Medium, Doc: "Whether a truncate event truncates the table."},
		{Name: keyPKMode, Aliases: []string{"pk.mode"}, Default: d.pk, Check: connect.OneOf(pkKey, pkValue, pkNone), Importance: connect.High,
			Doc: "Where a row's key comes from: record_key, record_value, or none.", Dependents: []string{keyPKFields}, Recommend: words(pkKey, pkValue, pkNone)},
		{Name: keyPKFields, Aliases: []string{"pk.fields"}, Type: connect.TypeList, Importance: connect.High, Doc: "The fields of key or value that make the key; empty means all. A key that is no struct needs one name here: its column's."},
		{Name: keyEvolve, Default: d.evolve, Check: connect.OneOf(evolveNone, evolveBasic), Importance: connect.High, Doc: "basic creates missing tables and adds missing columns; none does neither.", Recommend: words(evolveNone, evolveBasic)},
		{Name: "auto.create", Type: connect.TypeBoolean, Optional: true, Importance: connect.Medium, Doc: "Whether missing tables are created; unless set, schema.evolution decides."},
		{Name: "auto.evolve", Type: connect.TypeBoolean, Optional: true, Importance: connect.Medium, Doc: "Whether missing columns are added; unless set, schema.evolution decides."},
		{Name: keyFormat, Aliases: []string{"table.name.format"}, Default: "${topic}", Check: connect.CheckText(checkFormat), Importance: connect.Medium,
			Doc: "The table of a record: ${topic}, with dots made underscores; ${table}, the topic's last part; ${source.db}, ${source.schema} and ${source.table} of an envelope. A dot in the format divides schema and table."},
		{Name: "field.include.list", Aliases: []string{"fields.whitelist"}, Type: connect.TypeList, Importance: connect.Low, Doc: "The fields to write, as field or topic:field; empty means all. Keys are always written."},
		{Name: "field.exclude.list", Type: connect.TypeList, Importance: connect.Low, Doc: "The fields not to write, as field or topic:field."},
		{Name: "batch.size", Type: connect.TypeInt, Default: "3000", Check: connect.Between(1, 100000), Importance: connect.Medium, Doc: "How many rows one statement writes at most."},
		{Name: "unavailable.value.placeholder", Default: placeholderText, Importance: connect.Low, Doc: "What the source writes for a large value it was not told, because it did not change; hex: gives bytes. The column is then left as it is."},
		{Name: keyOffsets, Optional: true, Importance: connect.Low, Doc: "A table in which the positions reached are kept, in one transaction with the rows. It is created when it is missing. With it each change is applied once, whatever fails."},
	}
	for i := range keys {
		keys[i].Group = "Writing"
	}
	return keys
}

func words(list ...string) func(connect.Settings) []string {
	return func(connect.Settings) []string { return list }
}

// withoutEffect are settings of the JDBC sink connectors whose purpose is met in
// another way, or which speak of other databases.
func withoutEffect() []connect.ConfigKey {
	var keys []connect.ConfigKey
	for _, name := range []string{
		"connection.provider", "connection.pool.min_size", "connection.pool.max_size", "connection.pool.acquire_increment", "connection.pool.timeout",
		"connection.attempts", "connection.backoff.ms", "connection.restart.on.errors", "dialect.name", "quote.identifiers", "quote.sql.identifiers",
		"use.reduction.buffer", "use.time.zone", "db.timezone", "date.timezone", "max.retries", "retry.backoff.ms", "flush.max.retries", "flush.retry.delay.ms",
		"table.types", "replace.null.with.default", "trim.sensitive.log", "dialect.postgres.postgis.schema",
	} {
		keys = append(keys, connect.ConfigKey{
			Name: name, Optional: true, Importance: connect.Low, Group: "Without effect",
			Doc: "Understood, so that a JDBC sink's configuration can be used as it is. It has no effect.",
		})
	}
	return keys
}

// options are the settings, ready for use.
type options struct {
	upsert, deletes, truncates bool
	create, evolve             bool
	pkMode                     string
	pkFields                   []string
	format                     string
	dotted                     bool // Dots in a topic divide schema and table.
	include, exclude           []string
	batchSize                  int
	placeholder                string
	offsets                    string
}

// parse reads the settings. Those of the framework, which were checked elsewhere,
// are passed over.
func parse(d defaults, config connect.Config) (options, connect.Settings, error) {
	s, err := configDef(d).OpenTo(func(string) bool { return true }).Parse(config)
	if err != nil {
		return options{}, s, err
	}
	is := func(name, word string) bool { return strings.EqualFold(s.String(name), word) }
	basic := is(keyEvolve, evolveBasic)
	o := options{
		upsert: is(keyInsert, modeUpsert), deletes: s.Bool(keyDelete), truncates: s.Bool("truncate.enabled"),
		create: basic, evolve: basic,
		pkMode: strings.ToLower(s.String(keyPKMode)), pkFields: s.List(keyPKFields), format: s.String(keyFormat),
		// Confluent's connector reads the dots of a topic this way; Debezium's makes
		// underscores of them.
		dotted:  strings.HasPrefix(config["connector.class"], "io.confluent."),
		include: s.List("field.include.list"), exclude: s.List("field.exclude.list"),
		batchSize: s.Int("batch.size"), offsets: s.String(keyOffsets),
	}
	if s.Given("auto.create") {
		o.create = s.Bool("auto.create")
	}
	if s.Given("auto.evolve") {
		o.evolve = s.Bool("auto.evolve")
	}
	if o.placeholder, err = placeholderOf(s.String("unavailable.value.placeholder")); err != nil {
		return o, s, connect.Errors{connect.ConfigError("unavailable.value.placeholder", "%s", err)}
	}
	return o, s, o.contradictions()
}

func placeholderOf(text string) (string, error) {
	if digits, ok := strings.CutPrefix(text, "hex:"); ok {
		b, err := hex.DecodeString(digits)
		return string(b), err
	}
	return text, nil
}

// contradictions are faults that lie between settings.
func (o options) contradictions() error {
	var faults connect.Errors
	if o.upsert && o.pkMode == pkNone {
		faults = append(faults, mended(keyPKMode, "insert.mode=upsert needs a key to find rows by", "set "+keyPKMode+"="+pkKey))
	}
	if o.deletes && o.pkMode != pkKey {
		faults = append(faults, mended(keyPKMode, "delete.enabled=true needs the records' keys, since deletes have nothing else", "set "+keyPKMode+"="+pkKey))
	}
	return faults.OrNil()
}

func mended(setting, message, mend string) *connect.Error {
	e := connect.ConfigError(setting, "%s", message)
	e.Mend = mend
	return e
}
