package storm

import (
	"strconv"

	"github.com/tidemill/tidemill/connect"
)

// ConnectorOptions say how a connector reaches what it reads and what it is to do.
type ConnectorOptions struct {
	Host           string
	Port           int
	User, Password string
	Database       string
	// Prefix begins the names of topics, Slot is that of the replication slot. "storm".
	Prefix, Slot string
	Registry     string // The schema registry's address, http://…
	ExactlyOnce  bool
	// Grouped leaves it to the worker how many transactions of the source become one of
	// Kafka, as it does if nothing is set. Otherwise each becomes one.
	Grouped bool
	// Partitions is the number of partitions of topics whose records have keys. 1.
	Partitions int
	// Snapshot is the value of snapshot.mode. "initial".
	Snapshot string
}

// ConnectorConfig returns the configuration of a connector that captures the storm: in
// Debezium's shape, as Avro, with each event's place in its transaction.
func ConnectorConfig(o ConnectorOptions) connect.Config {
	text := func(value, def string) string {
		if value == "" {
			return def
		}
		return value
	}
	config := connect.Config{
		"connector.class": "io.debezium.connector.postgresql.PostgresConnector", "tasks.max": "1",
		"database.hostname": o.Host, "database.port": strconv.Itoa(o.Port), "database.user": o.User, "database.dbname": o.Database,
		"topic.prefix": text(o.Prefix, "storm"), "slot.name": text(o.Slot, "storm"), "plugin.name": "pgoutput",
		"publication.name": Publication, "publication.autocreate.mode": "disabled",
		"snapshot.mode": text(o.Snapshot, "initial"), "skipped.operations": "none", "provide.transaction.metadata": "true",
		"decimal.handling.mode": "string", "binary.handling.mode": "bytes", "time.precision.mode": "adaptive_time_microseconds",
		"schema.name.adjustment.mode": "avro", "field.name.adjustment.mode": "avro",
		"incremental.snapshot.chunk.size":           "20", // So that there is something between chunks.
		"topic.creation.default.replication.factor": "-1", "topic.creation.default.partitions": strconv.Itoa(max(o.Partitions, 1)),
		// Order is a promise of partitions: what has no key has one only.
		"topic.creation.groups": "single", "topic.creation.single.include": `.*\.(nokey|message|transaction|side|extra_.*)`,
		"topic.creation.single.replication.factor": "-1", "topic.creation.single.partitions": "1",
	}
	if o.Password != "" {
		config["database.password"] = o.Password
	}
	for _, role := range []string{"key.converter", "value.converter"} {
		config[role] = "io.confluent.connect.avro.AvroConverter"
		config[role+".schema.registry.url"] = o.Registry
	}
	if o.ExactlyOnce {
		config["exactly.once.support"] = "required"
		if !o.Grouped {
			config["transaction.boundary"] = "connector"
		}
	}
	return config
}
