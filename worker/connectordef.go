package worker

import (
	"errors"
	"regexp"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// The settings of every connector that the worker itself acts on, in Connect's order
// and with its names. They stand before or after the plugin's own.

const (
	groupCommon = "Common"
	groupErrors = "Error Handling"
	groupTopics = "Topic Creation"
	groupExact  = "Exactly Once Support"
	groupOffset = "offsets.topic"
)

// connectorKey is one setting of the worker's own for connectors.
func connectorKey(name string, t connect.ConfigType, def, doc string) connect.ConfigKey {
	return connect.ConfigKey{Name: name, Type: t, Default: def, Importance: connect.Medium, Doc: doc, Group: groupCommon, DisplayName: name}
}

func commonConnectorKeys() []connect.ConfigKey {
	keys := []connect.ConfigKey{
		connectorKey("name", connect.TypeString, "", "Unique name of the connector."),
		connectorKey("connector.class", connect.TypeString, "", "Class or alias of the connector."),
		checked(connectorKey("tasks.max", connect.TypeInt, "1", "Most tasks the connector may be divided into."), connect.Between(1, 1<<31-1)),
		connectorKey("tasks.max.enforce", connect.TypeBoolean, "true", "Whether a connector that makes more tasks than tasks.max fails."),
		connectorKey("key.converter", connect.TypeClass, "", "Converter of keys; the worker's when absent."),
		connectorKey("value.converter", connect.TypeClass, "", "Converter of values; the worker's when absent."),
		connectorKey("header.converter", connect.TypeClass, "", "Converter of headers; the worker's when absent."),
		connectorKey("transforms", connect.TypeList, "", "Aliases of the transforms, in order."),
		connectorKey("predicates", connect.TypeList, "", "Aliases of the predicates transforms may name."),
		checked(connectorKey("config.action.reload", connect.TypeString, "restart", "What follows when a secret changes: restart, or none. Secrets are read at each start."), connect.OneOf("none", "restart")),
	}
	for i := range keys {
		switch keys[i].Name {
		case "name", "connector.class":
			keys[i].Required, keys[i].Importance = true, connect.High
		case "tasks.max":
			keys[i].Importance = connect.High
		case "key.converter", "value.converter", "header.converter":
			keys[i].Optional, keys[i].Importance = true, connect.Low
		}
	}
	return keys
}

func errorKeys() []connect.ConfigKey {
	keys := []connect.ConfigKey{
		checked(connectorKey("errors.retry.timeout", connect.TypeDuration, "0", "How long an operation that failed for a passing reason is repeated, in milliseconds; -1 is without end."), connect.Between(-1, 1<<40)),
		checked(connectorKey("errors.retry.delay.max.ms", connect.TypeDuration, "60000", "Longest wait between such attempts, in milliseconds."), connect.Between(0, 1<<40)),
		checked(connectorKey("errors.tolerance", connect.TypeString, "none", "none fails the task at the first record that cannot be dealt with, all leaves such records out."), connect.OneOf("none", "all")),
		connectorKey("errors.log.enable", connect.TypeBoolean, "false", "Whether each error is logged."),
		connectorKey("errors.log.include.messages", connect.TypeBoolean, "false", "Whether the log names the record."),
	}
	for i := range keys {
		keys[i].Group = groupErrors
	}
	return keys
}

func sourceKeys() []connect.ConfigKey {
	in := func(group string, k connect.ConfigKey) connect.ConfigKey {
		k.Group = group
		return k
	}
	return []connect.ConfigKey{
		in(groupTopics, connectorKey("topic.creation.groups", connect.TypeList, "", "Groups of rules for new topics; each has topic.creation.<group>.include, .exclude, .partitions, .replication.factor and topic settings.")),
		in(groupExact, checked(connectorKey("exactly.once.support", connect.TypeString, "requested", "required refuses a configuration without exactly-once delivery."), connect.OneOf("requested", "required"))),
		in(groupExact, optional(checked(connectorKey("transaction.boundary", connect.TypeString, "", "With exactly-once: a Kafka transaction for each poll, each interval, or as the connector defines. When absent, and unlike Kafka Connect, each transaction of the source is within one Kafka transaction if the connector defines where they end, otherwise each poll is, and several that are at hand are written together."), connect.OneOf("poll", "interval", "connector")))),
		in(groupExact, optional(checked(connectorKey("transaction.boundary.interval.ms", connect.TypeDuration, "", "Length of a transaction with transaction.boundary=interval, in milliseconds; offset.flush.interval.ms when absent."), connect.Between(1, 1<<40)))),
		in(groupExact, checked(connectorKey("transaction.max.records", connect.TypeInt, "1000000", "A source transaction of more records is divided over several Kafka transactions, from each of which the task can resume; headers of the records tell (__tidemill.transaction.part and .last)."), connect.Between(2, 1<<31-1))),
		in(groupExact, checked(connectorKey("transaction.max.bytes", connect.TypeLong, "1073741824", "A source transaction of more bytes of keys and values is divided in the same way."), connect.Between(1<<10, 1<<50))),
		in(groupOffset, optional(checked(connectorKey("offsets.storage.topic", connect.TypeString, "", "Refused unless it is empty: offsets are kept in the worker's topic."), connect.CheckText(noOwnOffsets)))),
	}
}

func sinkKeys() []connect.ConfigKey {
	letters := func(k connect.ConfigKey) connect.ConfigKey {
		k.Group = groupErrors
		return k
	}
	return []connect.ConfigKey{
		connectorKey("topics", connect.TypeList, "", "Topics to read, separated by commas."),
		checked(connectorKey("topics.regex", connect.TypeString, "", "Regular expression of the topics to read."), connect.CheckText(func(text string) error {
			_, err := regexp.Compile(text)
			return err
		})),
		letters(connectorKey("errors.deadletterqueue.topic.name", connect.TypeString, "", "Topic for records that cannot be dealt with; none when empty.")),
		letters(checked(connectorKey("errors.deadletterqueue.topic.replication.factor", connect.TypeShort, "3", "Replicas of that topic when it is created."), connect.Between(-1, 32767))),
		letters(connectorKey("errors.deadletterqueue.context.headers.enable", connect.TypeBoolean, "false", "Whether headers say where a record comes from and what was wrong.")),
	}
}

// overWorker are settings of the worker that a connector may have otherwise: its restart
// policy and its memory. They are not Connect's, so validation lists them only when they
// are given.
func overWorker() []connect.ConfigKey {
	return append(restartKeys(), optional(checked(connectorKey(memoryKey, connect.TypeLong, "", "Bytes of records the connector's tasks may hold together, in equal parts; the worker's when absent."), connect.Between(1<<20, 1<<40))))
}

func restartKeys() []connect.ConfigKey {
	keys := []connect.ConfigKey{
		optional(checked(connectorKey("errors.restart.policy", connect.TypeString, "", "Whether failures that may pass lead to a restart: on-failure or never; the worker's when absent."), connect.OneOf("on-failure", "never"))),
		optional(checked(connectorKey("errors.restart.delay.ms", connect.TypeDuration, "", "Wait before the first restart, in milliseconds; the worker's when absent."), connect.Between(1, 1<<40))),
		optional(checked(connectorKey("errors.restart.delay.max.ms", connect.TypeDuration, "", "Longest wait before a restart, in milliseconds; the worker's when absent."), connect.Between(1, 1<<40))),
		optional(checked(connectorKey("errors.restart.max", connect.TypeInt, "", "Most restarts; -1 is without end; the worker's when absent."), connect.Between(-1, 1<<31-1))),
	}
	for i := range keys {
		keys[i].Group = groupErrors
	}
	return keys
}

func optional(k connect.ConfigKey) connect.ConfigKey {
	k.Optional = true
	return k
}

// frameworkKeys are the worker's settings for a connector of the given type.
func frameworkKeys(source bool) []connect.ConfigKey {
	keys := append(commonConnectorKeys(), errorKeys()...)
	if source {
		return append(keys, sourceKeys()...)
	}
	return append(keys, sinkKeys()...)
}

// frameworkDef is the table of what the worker itself reads of a connector's
// configuration.
func frameworkDef(source bool) *connect.ConfigDef {
	return connect.NewConfigDef(append(frameworkKeys(source), overWorker()...)...).OpenTo(func(string) bool { return true })
}

// belongsElsewhere tells whether a connector's setting is neither the worker's nor
// the plugin's but that of something they name.
func belongsElsewhere(name string) bool {
	for _, prefix := range []string{
		"key.converter.", "value.converter.", "header.converter.", "transforms.", "predicates.", "topic.creation.",
		"producer.override.", "consumer.override.", "admin.override.", "connector.plugin.version",
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// noOwnOffsets refuses a topic for a connector's own offsets: to leave the setting out
// of account would make its owner look for them in the wrong place.
func noOwnOffsets(text string) error {
	if text == "" {
		return nil
	}
	return errors.New("a connector's offsets are kept in the worker's offset.storage.topic; remove this setting")
}
