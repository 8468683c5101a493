package postgres

import (
	"errors"
	"math"
	"regexp"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// configDef is the table of settings: those of Debezium's PostgreSQL connector, by
// their names, and a few of our own. Each is in one of three classes: it works; it
// is accepted and has no effect, its Doc saying why that is harmless; or it is
// refused with the reason, because leaving it out of account would change results.
func configDef() *connect.ConfigDef {
	var keys []connect.ConfigKey
	for _, group := range [][]connect.ConfigKey{
		connectionKeys(), replicationKeys(), filterKeys(), valueKeys(), topicKeys(), snapshotKeys(), signalKeys(), basedFlags(), queueKeys(), idleKeys(), refusedKeys(),
	} {
		keys = append(keys, group...)
	}
	for i := range keys {
		keys[i].Check = atLeast(keys[i])
	}
	return connect.NewConfigDef(keys...).OpenTo(open)
}

// atLeast is the check of a number that has none of its own: it is not negative,
// unless its default is.
func atLeast(k connect.ConfigKey) connect.Check {
	switch k.Type {
	case connect.TypeInt, connect.TypeLong, connect.TypeShort, connect.TypeDuration:
		if k.Check == nil && strings.HasPrefix(k.Default, "-") {
			return connect.Between(-1, math.MaxInt64)
		}
		if k.Check == nil {
			return connect.Between(0, math.MaxInt64)
		}
	}
	return k.Check
}

// open accepts names that are not declared: the worker's own, those passed through
// to a driver, and the families whose names hold a parameter.
func open(name string) bool {
	for _, own := range []string{"name", "connector.class", "tasks.max", "tasks.max.enforce", "exactly.once.support", "offsets.storage.topic", "config.action.reload", "memory.max.bytes"} {
		if name == own {
			return true
		}
	}
	for _, prefix := range []string{
		"key.converter", "value.converter", "header.converter", "transforms", "predicates", "topic.creation.", "errors.",
		"producer.override.", "consumer.override.", "admin.override.", "transaction.boundary", "transaction.max.",
		"database.", "driver.", "signal.consumer.", "column.mask.", "column.truncate.to.", "snapshot.select.statement.overrides.",
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func text(name, def, doc string) connect.ConfigKey {
	return connect.ConfigKey{Name: name, Default: def, Doc: doc, Importance: connect.Medium}
}

func typed(name string, t connect.ConfigType, def, doc string) connect.ConfigKey {
	return connect.ConfigKey{Name: name, Type: t, Default: def, Optional: def == "", Doc: doc, Importance: connect.Medium}
}

func choice(name, doc string, words ...string) connect.ConfigKey {
	return connect.ConfigKey{Name: name, Default: words[0], Check: connect.OneOf(words...), Doc: doc, Importance: connect.Medium,
		Recommend: func(connect.Settings) []string { return words }}
}

func required(k connect.ConfigKey) connect.ConfigKey {
	k.Required, k.Optional, k.Importance = true, false, connect.High
	return k
}

func checked(k connect.ConfigKey, check func(string) error) connect.ConfigKey {
	k.Check = connect.CheckText(check)
	return k
}

// numeric is a number, or a duration in milliseconds, that is at least least.
func numeric(name string, t connect.ConfigType, def string, least int64, doc string) connect.ConfigKey {
	k := typed(name, t, def, doc)
	k.Check = connect.Between(least, math.MaxInt64)
	return k
}

func former(k connect.ConfigKey, names ...string) connect.ConfigKey {
	k.Aliases = names
	return k
}

func connectionKeys() []connect.ConfigKey {
	return []connect.ConfigKey{
		required(text("database.hostname", "", "Host name or address of the server, or several of them with commas between; they are resolved at each connection.")),
		text("database.port", "5432", "Port of the server, or one for each host."),
		former(checked(text("database.targetServerType", "", "Which of several hosts to use: primary, standby, prefer-standby, read-write, read-only or any (JDBC's words are understood). Default: primary, and with read.only=true prefer-standby; of a single host nothing is asked."), checkRole), "driver.targetServerType", "database.target_session_attrs"),
		required(text("database.user", "", "The user to log in as; it needs REPLICATION and SELECT.")),
		typed("database.password", connect.TypePassword, "", "Its password."),
		required(text("database.dbname", "", "The database to capture.")),
		choice("database.sslmode", "Whether and how the connection is encrypted.", "prefer", "disable", "allow", "require", "verify-ca", "verify-full"),
		text("database.sslcert", "", "File with the client's certificate."),
		text("database.sslkey", "", "File with the client's key."),
		typed("database.sslpassword", connect.TypePassword, "", "Password of that key."),
		text("database.sslrootcert", "", "File with the certificates to trust."),
		text("database.initial.statements", "", "SQL run on each ordinary connection, separated by semicolons (;; stands for one)."),
		numeric("connection.validation.timeout.ms", connect.TypeDuration, "60000", 1, "How long a validation may look at the server."),
		former(typed("connection.timeout.ms", connect.TypeDuration, "30000", "How long to wait for a connection."), "database.connection.timeout.ms"),
	}
}

var slotName = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

func replicationKeys() []connect.ConfigKey {
	return []connect.ConfigKey{
		checked(text("plugin.name", "pgoutput", "The output plugin; pgoutput is part of every server."), func(s string) error {
			if s != "pgoutput" {
				return errors.New("only pgoutput is supported; it needs no installation on the server and gives the same events: set plugin.name=pgoutput, and let the connector create a new slot (another slot.name), since a slot keeps its plugin")
			}
			return nil
		}),
		checked(text("slot.name", "debezium", "The replication slot."), func(s string) error {
			if !slotName.MatchString(s) {
				return errors.New("a slot's name has up to 63 lower-case letters, digits and underscores")
			}
			return nil
		}),
		typed("slot.drop.on.stop", connect.TypeBoolean, "false", "Drop the slot when the connector stops; changes made until the next start are then lost."),
		typed("slot.failover", connect.TypeBoolean, "false", "Create the slot so that standbys keep a copy of it (PostgreSQL 17)."),
		text("slot.stream.params", "", "Further options of the stream, as name=value;name=value, such as origin=none (PostgreSQL 16)."),
		typed("transaction.streaming", connect.TypeBoolean, "true", "Receive large transactions while they are in progress (PostgreSQL 14), so that the server need not keep them and nothing waits for their end; their changes are sent after the commit all the same."),
		text("transaction.spill.dir", "", "Directory for transactions in progress. Default: the task's own directory, else the system's for temporary files."),
		typed("transaction.spill.max.bytes", connect.TypeLong, "10737418240", "Most bytes on disk for transactions in progress; beyond, the server is asked to keep them itself."),
		choice("stream.format", "The form of values on the wire: as text, and in binary form where a value is too large as text (auto); always as text; or in binary form for all types for which it is understood. The events are the same.", formatAuto, formatText, formatBinary),
		typed("shutdown.patience.ms", connect.TypeDuration, "20000", "How long a server that shuts down is kept waiting for records to become safe."),
		typed("stream.silence.ms", connect.TypeDuration, "60000", "A server that has said nothing for so long, although it was asked, is taken for unreachable."),
		typed("slot.max.retries", connect.TypeInt, "6", "How often to try to use a slot that is in use."),
		typed("slot.retry.delay.ms", connect.TypeDuration, "10000", "The longest wait between such attempts."),
		text("publication.name", "dbz_publication", "The publication."),
		choice("publication.autocreate.mode", "What to create when the publication does not exist.", "filtered", "all_tables", "disabled", "no_tables"),
		typed("publication.watch.interval.ms", connect.TypeDuration, "5000", "How often to look in the catalogue for new tables and for changes of the publication and of partitions, which the log does not tell; 0: never."),
		choice("publication.gap.action", "What to do when changes are missing in a topic, because a table was out of the publication for a while, a partition was attached with rows or emptied, or the like: warn; fail with the code pg.publication.gap; or read the table again (backfill), where that makes up for them.", "warn", "fail", "backfill"),
		typed("new.tables.snapshot", connect.TypeBoolean, "false", "Read the rows of tables that join the publication while the connector runs, or that it lacked at a start, by an incremental snapshot."),
		typed("publish.via.partition.root", connect.TypeBoolean, "", "Changes of partitions under the name of the partitioned table. Default: when a partitioned table is captured."),
		choice("lsn.flush.mode", "Whether positions are confirmed to the server. connector_and_driver is the same as connector, which confirms keepalives as well.", "connector", "manual", "connector_and_driver"),
		typed("flush.lsn.source", connect.TypeBoolean, "true", "Former name of lsn.flush.mode: false is manual."),
		choice("offset.mismatch.strategy", "What to do when the slot is ahead of the stored offset, so that changes are missing. trust_offset: fail, and name the range and the remedies. trust_slot, trust_greater_lsn and no_validation: go on from the slot, with an error in the log and the gap on record in the offset. A slot behind the offset is moved on to it in all four, and an offset of another server or history always fails.", "trust_offset", "no_validation", "trust_slot", "trust_greater_lsn"),
		numeric("wal.guard.max.bytes", connect.TypeLong, "0", 0, "Most log that the server may hold back for the slot before wal.guard.action follows; 0: any amount."),
		choice("wal.guard.action", "What follows when the slot holds back more: a warning, the task fails and the slot stays (fail), or the slot is dropped and the task fails (drop_slot).", "warn", "fail", "drop_slot"),
		numeric("wal.guard.interval.ms", connect.TypeDuration, "5000", 50, "How often the server is asked how much log it holds back."),
		numeric("xmin.fetch.interval.ms", connect.TypeDuration, "0", 0, "How often the slot's catalog_xmin is fetched for source.xmin; 0: source.xmin is null."),
		typed("status.update.interval.ms", connect.TypeDuration, "10000", "The longest time between two reports to the server."),
	}
}

func filterKeys() []connect.ConfigKey {
	list := func(name, doc, old string) connect.ConfigKey {
		k := checked(typed(name, connect.TypeList, "", doc), checkPatterns)
		return former(k, old)
	}
	return []connect.ConfigKey{
		list("schema.include.list", "Schemas to capture: regular expressions that match whole names.", "schema.whitelist"),
		list("schema.exclude.list", "Schemas not to capture.", "schema.blacklist"),
		list("table.include.list", "Tables to capture, as schema.table.", "table.whitelist"),
		list("table.exclude.list", "Tables not to capture.", "table.blacklist"),
		list("column.include.list", "Columns that values have, as schema.table.column. Keys keep theirs.", "column.whitelist"),
		list("column.exclude.list", "Columns that values do not have.", "column.blacklist"),
		checked(text("message.key.columns", "", "Keys of one's own: schema.table:column,column;…"), checkKeyColumns),
		checked(text("replica.identity.autoset.values", "", "Replica identities to give to tables: schema.table:FULL, :DEFAULT, :NOTHING or :INDEX <index>, parted by commas; each table's name is a regular expression. Where the user does not own a table, a warning has the statement."), checkIdentities),
		typed("guardrail.collections.max", connect.TypeInt, "0", "Most tables to capture; 0: no limit."),
		choice("guardrail.collections.limit.action", "When more tables than that are captured: warn, or fail.", "warn", "fail"),
		typed("skip.messages.without.change", connect.TypeBoolean, "false", "Leave out updates that change no captured column; takes effect where the replica identity is FULL."),
		typed("skipped.operations", connect.TypeList, "t", "Operations to leave out: c, u, d, t or none."),
		checked(typed("message.prefix.include.list", connect.TypeList, "", "Prefixes of logical messages to capture."), checkPatterns),
		checked(typed("message.prefix.exclude.list", connect.TypeList, "", "Prefixes of logical messages not to capture."), checkPatterns),
	}
}

func valueKeys() []connect.ConfigKey {
	return []connect.ConfigKey{
		choice("decimal.handling.mode", "How numeric and money travel.", "precise", "double", "string"),
		choice("decimal.special.values", "NaN and the infinities of numeric under decimal.handling.mode=precise, whose schema holds numbers only: a failed conversion, dealt with as event.converting.failure.handling.mode says (fault), or null, with the field optional.", "fault", "null"),
		choice("time.precision.mode", "How dates and times travel.", "adaptive", "adaptive_time_microseconds", "connect", "isostring", "microseconds", "nanoseconds", "structured"),
		choice("interval.handling.mode", "Intervals as microseconds or as ISO 8601 text.", "numeric", "string"),
		choice("hstore.handling.mode", "hstore as JSON text or as a map.", "json", "map"),
		choice("binary.handling.mode", "bytea as bytes or as text.", "bytes", "base64", "base64-url-safe", "hex"),
		typed("money.fraction.digits", connect.TypeShort, "2", "Digits after the point that the server writes for money."),
		typed("include.unknown.datatypes", connect.TypeBoolean, "false", "Columns of types without a mapping as opaque bytes instead of leaving them out with a warning."),
		choice("unavailable.value.mode", "What stands for a large value that the log does not hold because it did not change: the placeholder, or, with fill, the value itself, from copies kept below the worker's plugin.state.dir.", "placeholder", "fill"),
		former(text("unavailable.value.placeholder", "__debezium_unavailable_value", "Stands for a large value that the log does not hold because it did not change; hex: before it gives bytes."), "toasted.value.placeholder"),
		choice("before.missing.values", "What the before image of a deletion has for columns that the log does not hold, when the replica identity is not FULL: null, with non-key columns optional in the schema, or made-up zeros, as Debezium has them.", "null", "fallback"),
		choice("event.converting.failure.handling.mode", "When a value cannot be converted: fail, or null with a warning (warn), or null (skip).", "warn", "fail", "skip"),
		checked(typed("column.propagate.source.type", connect.TypeList, "", "Columns, as schema.table.column, whose schemas tell their type, length, scale, name and comment in the database as parameters."), checkPatterns),
		checked(typed("datatype.propagate.source.type", connect.TypeList, "", "The same for columns of these types, as schema.table.type."), checkPatterns),
		choice("schema.name.adjustment.mode", "How schema names are adjusted.", "none", "avro", "avro_unicode"),
		choice("field.name.adjustment.mode", "How field names are adjusted.", "none", "avro", "avro_unicode"),
		choice("ddl.capture", "How changes of schema are captured: not at all (the log tells the shape of tables by itself), or by an event trigger which writes them into the log, inside their own transaction (event_trigger; a superuser must install it, or the connector does if its user may). Then NOT NULL, defaults and the order of keys are exactly those of each place in the log.", "none", "event_trigger"),
		text("ddl.capture.schema", "tidemill", "The schema for the event trigger's functions; connectors of one database may share it."),
		typed("include.schema.changes", connect.TypeBoolean, "true", "With ddl.capture=event_trigger: a record for each change of a captured table's shape, in the topic named like topic.prefix."),
		typed("tombstones.on.delete", connect.TypeBoolean, "true", "A record without a value after each deletion, so that compaction removes the key."),
		typed("extended.headers.enabled", connect.TypeBoolean, "false", "Headers that name the connector and the task on every record."),
	}
}

func topicKeys() []connect.ConfigKey {
	return []connect.ConfigKey{
		former(required(checked(text("topic.prefix", "", "First part of all topic names, and the name under which offsets are kept."), func(s string) error {
			if s == "" || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" {
				return errors.New("letters, digits, dots, hyphens and underscores may stand here, because topics are named after it")
			}
			return nil
		})), "database.server.name"),
		checked(text("topic.naming.strategy", "io.debezium.schema.SchemaTopicNamingStrategy",
			"How topics are named: SchemaTopicNamingStrategy (prefix.schema.table), DefaultTopicNamingStrategy (prefix.table), or their Unicode forms, which escape what may not stand in a name."), checkNaming),
		text("topic.delimiter", ".", "Stands between the parts of topic names."),
		typed("provide.transaction.metadata", connect.TypeBoolean, "false", "A topic with the beginnings and ends of transactions, and each event's place in its own."),
		typed("transaction.metadata.snapshot", connect.TypeBoolean, "false", "That topic also has the end of each snapshot, as of a transaction 0, with the rows of its tables: whoever derives something from several tables knows then when all of them are there. Applications of the streams engine in transaction mode need it."),
		text("topic.transaction", "transaction", "Last part of that topic's name."),
		text("topic.heartbeat.prefix", "__debezium-heartbeat", "First part of the heartbeat topic."),
		text("topic.heartbeat.name", "", "Name of the heartbeat topic, when it is not made of prefixes."),
		typed("heartbeat.interval.ms", connect.TypeDuration, "0", "How often heartbeat records are sent; 0: never. They are not needed to keep the log short."),
		text("heartbeat.action.query", "", "SQL run with each heartbeat."),
	}
}

func queueKeys() []connect.ConfigKey {
	return []connect.ConfigKey{
		numeric("max.batch.size", connect.TypeInt, "2048", 1, "Most records in a batch."),
		numeric("max.queue.size", connect.TypeInt, "8192", 1, "Most records that wait for the worker."),
		typed("max.queue.size.in.bytes", connect.TypeLong, "16777216", "Most memory that waiting records take; 0 is the default, since memory is always bounded."),
		typed("poll.interval.ms", connect.TypeDuration, "500", "How long the worker waits for records before it looks around; records never wait for it."),
		typed("errors.max.retries", connect.TypeInt, "-1", "How often in a row to connect anew after a fault that may pass; -1: without end, once the connector has run."),
		typed("retriable.restart.connector.wait.ms", connect.TypeDuration, "10000", "The longest wait between such attempts."),
	}
}
