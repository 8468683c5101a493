package postgres

import (
	"errors"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// idleKeys are accepted and have no effect; each says why that is harmless.
func idleKeys() []connect.ConfigKey {
	var keys []connect.ConfigKey
	for _, k := range []struct{ name, why string }{
		{"database.tcpKeepAlive", "keepalives are always on"},
		{"database.sslfactory", "it names a Java class; the other ssl settings suffice"},
		{"database.query.timeout.ms", "statements end with the task, and the snapshot's must not be cut short"},
		{"lsn.flush.timeout.ms", "confirming never blocks"},
		{"lsn.flush.timeout.action", "confirming never blocks"},
		{"internal.log.position.check.enable", "the position is always checked"},
		{"internal.create.slot.command.timeout", "creating a slot ends with the task"},
		{"internal.offset.activity.monitor.interval.ms", "metrics tell the lag"},
		{"table.ignore.builtin", "system tables cannot be published"},
		{"schema.refresh.mode", "the shape of a table is taken from the log itself"},
		{"event.processing.failure.handling.mode", "a message that cannot be read always fails the task, so that nothing is lost unseen"},
		{"include.schema.comments", "it has no effect on PostgreSQL"},
		{"schemas.storage.class", "schemas are held in memory"},
		{"tables.storage.class", "schemas are held in memory"},
		{"topic.cache.size", "topic names are made once for each table"},
		{"query.fetch.size", "rows are streamed"},
		{"queue.provider.type", "the buffer is in memory and bounded in bytes"},
		{"poll.dispatch.interval.ms", "batches grow by themselves when there is much to send"},
		{"executor.shutdown.timeout.ms", "the worker's own time limit holds"},
		{"statistics.metrics.enabled", "metrics are always on"},
		{"custom.metric.tags", "the worker labels the metrics"},
		{"custom.sanitize.pattern", "secrets are always hidden"},
	} {
		keys = append(keys, connect.ConfigKey{Name: k.name, Optional: true, Importance: connect.Low, Doc: "Accepted, no effect: " + k.why + "."})
	}
	return keys
}

// refusedKeys would change results if they were left out of account. The values
// listed with each are those that ask for nothing.
func refusedKeys() []connect.ConfigKey {
	const lineageRefused = "OpenLineage events are not sent"
	var keys []connect.ConfigKey
	for _, k := range []struct {
		name, why string
		harmless  []string
	}{
		{"transaction.metadata.factory", "Java classes cannot be loaded", nil},
		{"database.connection.factory.class", "Java classes cannot be loaded; name a user and a password", nil},
		{"sourceinfo.struct.maker", "Java classes cannot be loaded", nil},
		{"converters", "custom converters are Java classes, which cannot be loaded; use a transform", nil},
		{"post.processors", "post processors are Java classes, which cannot be loaded; REPLICA IDENTITY FULL gives unchanged large values", nil},
		{"snapshot.mode.custom.name", "Java classes cannot be loaded", nil},
		{"snapshot.locking.mode.custom.name", "Java classes cannot be loaded", nil},
		{"snapshot.query.mode", "only select_all is supported; see snapshot.select.statement.overrides", []string{"select_all"}},
		{"snapshot.query.mode.custom.name", "Java classes cannot be loaded", nil},
		{"openlineage.integration.enabled", lineageRefused, []string{"false"}},
		{"openlineage.integration.config.file.path", lineageRefused, nil},
		{"openlineage.integration.job.namespace", lineageRefused, nil},
		{"openlineage.integration.job.description", lineageRefused, nil},
		{"openlineage.integration.job.tags", lineageRefused, nil},
		{"openlineage.integration.job.owners", lineageRefused, nil},
		{"openlineage.integration.dataset.kafka.bootstrap.servers", lineageRefused, nil},
	} {
		keys = append(keys, connect.ConfigKey{Name: k.name, Optional: true, Importance: connect.Low, Doc: "Refused: " + k.why + ".",
			Check: connect.CheckText(func(s string) error {
				if s == "" || slices.Contains(k.harmless, strings.ToLower(s)) {
					return nil
				}
				return errors.New(k.why)
			})})
	}
	return keys
}
