package worker

import (
	"strings"

	"github.com/tidemill/tidemill/connect"
)

func commonKeys() []connect.ConfigKey {
	return []connect.ConfigKey{
		key("bootstrap.servers", connect.TypeList, "localhost:9092", "Brokers to begin with, as host:port, separated by commas."),
		key("key.converter", connect.TypeClass, "", "Converter of keys, for connectors that name none. Settings of its own follow as key.converter.*."),
		key("value.converter", connect.TypeClass, "", "Converter of values, for connectors that name none. Settings of its own follow as value.converter.*."),
		key("header.converter", connect.TypeClass, "org.apache.kafka.connect.storage.SimpleHeaderConverter", "Converter of headers, for connectors that name none."),
		checked(key("task.shutdown.graceful.timeout.ms", connect.TypeDuration, "5000", "How long tasks may take to stop before they are abandoned, in milliseconds."), connect.Between(0, 1<<40)),
		checked(key("offset.flush.interval.ms", connect.TypeDuration, "1000", "How often the offsets of sinks are stored, and how soon storing those of a source is tried again when it failed, in milliseconds. The default is one second, where Kafka Connect's is one minute. The offsets of sources are stored 20 milliseconds after their records at the latest, or after this time if it is shorter, so that little is repeated after a crash."), connect.Between(1, 1<<40)),
		checked(key("offset.flush.records", connect.TypeInt, "50000", "Offsets are also stored after this many acknowledged records."), connect.Between(1, 1<<31-1)),
		checked(key("offset.flush.timeout.ms", connect.TypeDuration, "5000", "How long storing offsets may take when a task stops, in milliseconds."), connect.Between(1, 1<<40)),
		checked(key("connector.client.config.override.policy", connect.TypeString, "Allowlist", "Which client settings connectors may override: All, Principal, None, or Allowlist (those of connector.client.config.override.allowlist). The default is Allowlist, where Kafka Connect's is All: with All, whoever may create connectors may have the worker's credentials."), connect.CheckText(checkPolicyName)),
		key("connector.client.config.override.allowlist", connect.TypeList, strings.Join(ordinarySettings, ","), "Client settings connectors may override under the policy Allowlist, without producer.override. and the like. The default are those that tune a connector's own clients, and its principal; not where clients connect to, nor files and classes."),
		key("topic.tracking.enable", connect.TypeBoolean, "true", "Whether the topics connectors use are recorded."),
		key("topic.tracking.allow.reset", connect.TypeBoolean, "true", "Whether REST may reset the recorded topics."),
		key("topic.creation.enable", connect.TypeBoolean, "true", "Whether source tasks create missing topics. Without it the brokers' auto.create.topics.enable decides."),
		checked(key("errors.restart.policy", connect.TypeString, "on-failure", "Whether failures that may pass by themselves lead to a restart (on-failure), or never."), connect.OneOf("on-failure", "never")),
		checked(key("errors.restart.delay.ms", connect.TypeDuration, "1000", "Wait before the first restart, in milliseconds; it doubles with each failure, and is this again after a run ten times as long as the wait before it."), connect.Between(1, 1<<40)),
		checked(key("errors.restart.delay.max.ms", connect.TypeDuration, "60000", "Longest wait before a restart, in milliseconds."), connect.Between(1, 1<<40)),
		checked(key("errors.restart.max", connect.TypeInt, "-1", "How often a task is restarted before it is left FAILED; -1 is without end. An hour of running clears the count."), connect.Between(-1, 1<<31-1)),
		checked(key("validate.timeout.ms", connect.TypeDuration, "5000", "How long a connector may take to check a configuration against its other system, in milliseconds."), connect.Between(1, 1<<40)),
		key("plugin.state.dir", connect.TypeString, "", "Directory below which source tasks keep files on this machine, such as parts of large transactions. Default: tidemill/<group.id> in the user's cache."),
		checked(key(memoryKey, connect.TypeLong, "134217728", "Bytes of records that the tasks of one connector may hold together, in equal parts; a connector may have its own. When they are used up, a source is not polled and a sink fetches nothing."), connect.Between(1<<20, 1<<40)),
		checked(key("producer.buffer.bytes", connect.TypeLong, "16777216", "Bytes a source task may have on their way to Kafka. When they are used up, Poll waits. Its part of memory.max.bytes bounds it as well."), connect.Between(1<<16, 1<<40)),
	}
}

func storageKeys() []connect.ConfigKey {
	atLeast := connect.Between(-1, 32767)
	return []connect.ConfigKey{
		key("offset.storage.file.filename", connect.TypeString, "", "Standalone: the file offsets are kept in."),
		key("config.storage.topic", connect.TypeString, "", "Distributed: the topic of connector configurations."),
		checked(key("config.storage.replication.factor", connect.TypeShort, "3", "Replicas of a new configuration topic; -1 takes the brokers' default."), atLeast),
		key("offset.storage.topic", connect.TypeString, "", "Distributed: the topic of source offsets."),
		checked(key("offset.storage.replication.factor", connect.TypeShort, "3", "Replicas of a new offsets topic; -1 takes the brokers' default."), atLeast),
		checked(key("offset.storage.partitions", connect.TypeInt, "25", "Partitions of a new offsets topic; -1 takes the brokers' default."), connect.Between(-1, 1<<20)),
		key("status.storage.topic", connect.TypeString, "", "Distributed: the topic of states."),
		checked(key("status.storage.replication.factor", connect.TypeShort, "3", "Replicas of a new status topic; -1 takes the brokers' default."), atLeast),
		checked(key("status.storage.partitions", connect.TypeInt, "5", "Partitions of a new status topic; -1 takes the brokers' default."), connect.Between(-1, 1<<20)),
	}
}

func groupKeys() []connect.ConfigKey {
	return []connect.ConfigKey{
		key("group.id", connect.TypeString, "", "Distributed: the name of the cluster of workers."),
		key("exactly.once.source.support", connect.TypeString, "disabled", "enabled writes source records and their offsets in one transaction; preparing is the step before, when a running cluster is changed over."),
		key("session.timeout.ms", connect.TypeDuration, "8000", "Distributed: when a worker that is not heard of is given up, and stops its work by itself, in milliseconds. The default is 8 seconds, where Kafka Connect's is 10, so that others run its tasks within 10."),
		key("heartbeat.interval.ms", connect.TypeDuration, "500", "Distributed: how often a worker shows life and hears that work is divided anew, in milliseconds. The default is half a second, where Kafka Connect's is 3."),
		key("rebalance.timeout.ms", connect.TypeDuration, "60000", "Distributed: how long workers have to join, in milliseconds."),
		key("worker.sync.timeout.ms", connect.TypeDuration, "3000", "Distributed: how long a worker may take to catch up with configurations, in milliseconds."),
		key("worker.unsync.backoff.ms", connect.TypeDuration, "300000", "Distributed: how long a worker that did not catch up stays away, in milliseconds."),
		key("group.instance.id", connect.TypeString, "", "Distributed: the name under which a worker that comes back takes the place it had (KIP-345). Default: rest.advertised.host.name and port. No two workers of a group may have the same."),
		checked(key("connect.protocol", connect.TypeString, "sessioned", "Distributed: the newest protocol between workers that is offered: sessioned, compatible or eager."), connect.OneOf("sessioned", "compatible", "eager")),
		key("scheduled.rebalance.max.delay.ms", connect.TypeDuration, "0", "Distributed: how long a departed worker's share is kept for it after its session, in milliseconds. The default is not at all, where Kafka Connect's is 5 minutes: a worker that comes back within its session finds its share in any case."),
		checked(key("inter.worker.key.generation.algorithm", connect.TypeString, "HmacSHA256", "Distributed: algorithm of the keys between workers: HmacSHA256."), connect.OneOf("HmacSHA1", "HmacSHA256", "HmacSHA384", "HmacSHA512")),
		key("inter.worker.key.size", connect.TypeInt, "", "Distributed: size of the keys between workers, in bits; that of the algorithm when absent."),
		key("inter.worker.key.ttl.ms", connect.TypeDuration, "3600000", "Distributed: life of a key between workers, in milliseconds."),
		checked(key("inter.worker.signature.algorithm", connect.TypeString, "HmacSHA256", "Distributed: how workers sign."), connect.OneOf("HmacSHA1", "HmacSHA256", "HmacSHA384", "HmacSHA512")),
		key("inter.worker.verification.algorithms", connect.TypeList, "HmacSHA256", "Distributed: which signatures are accepted."),
	}
}

func restKeys() []connect.ConfigKey {
	return []connect.ConfigKey{
		key("listeners", connect.TypeList, "http://:8083", "Where the REST interface listens."),
		key("rest.advertised.host.name", connect.TypeString, "", "Host by which others reach this worker's REST interface."),
		key("rest.advertised.port", connect.TypeInt, "", "Port by which others reach this worker's REST interface."),
		key("rest.advertised.listener", connect.TypeString, "", "Which of the listeners is advertised: http or https."),
		key("admin.listeners", connect.TypeList, "", "Where the administrative REST interface listens."),
		key("access.control.allow.origin", connect.TypeString, "", "Origins web pages may call the REST interface from."),
		key("access.control.allow.methods", connect.TypeString, "", "Methods web pages may call."),
		key("response.http.headers.config", connect.TypeString, "", "Further HTTP headers of REST answers."),
		key("config.providers", connect.TypeList, "", "Names of the providers of secrets."),
	}
}

// clientKeys are the settings of Kafka clients that workers take without a prefix.
func clientKeys() []connect.ConfigKey {
	return []connect.ConfigKey{
		key("client.id", connect.TypeString, "", "How the worker names itself to the brokers."),
		key("metadata.max.age.ms", connect.TypeDuration, "300000", "When what is known of the brokers is asked for anew, in milliseconds."),
		key("request.timeout.ms", connect.TypeDuration, "40000", "How long the brokers may take to answer, in milliseconds."),
		key("retry.backoff.ms", connect.TypeDuration, "100", "Wait before a request is repeated, in milliseconds."),
		key("retry.backoff.max.ms", connect.TypeDuration, "1000", "Longest wait before a request is repeated, in milliseconds."),
		key("connections.max.idle.ms", connect.TypeDuration, "540000", "When unused connections are closed, in milliseconds."),
		key("reconnect.backoff.ms", connect.TypeDuration, "50", "Accepted. The client's own waits between connections apply."),
		key("reconnect.backoff.max.ms", connect.TypeDuration, "1000", "Accepted. The client's own waits between connections apply."),
		key("socket.connection.setup.timeout.ms", connect.TypeDuration, "10000", "How long a connection may take, in milliseconds."),
		key("socket.connection.setup.timeout.max.ms", connect.TypeDuration, "30000", "Accepted. One time limit holds for all connections."),
		key("send.buffer.bytes", connect.TypeInt, "131072", "Accepted. The system's own size is used."),
		key("receive.buffer.bytes", connect.TypeInt, "32768", "Accepted. The system's own size is used."),
		key("client.dns.lookup", connect.TypeString, "use_all_dns_ips", "Accepted. All addresses of a name are tried."),
		key("metadata.recovery.strategy", connect.TypeString, "rebootstrap", "Accepted. The client goes back to bootstrap.servers when all brokers are gone."),
		key("metadata.recovery.rebootstrap.trigger.ms", connect.TypeDuration, "300000", "Accepted, see metadata.recovery.strategy."),
	}
}

// metricsKeys are the settings of GET /metrics.
func metricsKeys() []connect.ConfigKey {
	return []connect.ConfigKey{
		checked(key("metrics.num.samples", connect.TypeInt, "2", "Number of samples over which the rates, means and maxima of Kafka Connect's metrics are taken."), connect.Between(1, 1000)),
		checked(key("metrics.sample.window.ms", connect.TypeDuration, "30000", "Length of such a sample, in milliseconds."), connect.Between(1, 1<<40)),
		checked(key("metrics.compat", connect.TypeList, "debezium-jmx,debezium-otel,connect", "Whose names GET /metrics has, besides those that begin with tidemill_: debezium-jmx (debezium_metrics_*), debezium-otel (debezium_*), connect (kafka_connect_<group>_metrics_*, as exporters for Kafka Connect's dashboards have them), strimzi (kafka_connect_<group>_*), debezium-examples (kafka_connect_worker_metrics_*). The same figures under each."), connect.CheckText(checkCompat)),
		checked(key("metrics.table.labels.max", connect.TypeInt, "200", "How many combinations of labels, such as tables, each figure of a connector's task may have. Counters of further ones are added up under (others), other figures of theirs are left out."), connect.Between(0, 1<<20)),
	}
}

// ignoredKeys are settings that speak of the Java machine.
func ignoredKeys() []connect.ConfigKey {
	doc := "Accepted. It speaks of the Java machine and has no effect."
	return []connect.ConfigKey{
		key("plugin.path", connect.TypeList, "", "Directories with external plugins: executables made with package plugin. They are found while the worker runs. Others than root and the worker's user must not be able to write there."),
		key("plugin.discovery", connect.TypeString, "hybrid_warn", "Accepted. Executables in plugin.path say themselves what they hold."),
		key("rest.extension.classes", connect.TypeList, "", "Java classes that extend the REST interface. Known ones are understood by the REST room."),
		key("metric.reporters", connect.TypeList, "", doc),
		key("metrics.recording.level", connect.TypeString, "INFO", doc),
		key("auto.include.jmx.reporter", connect.TypeBoolean, "true", doc),
		key("internal.key.converter", connect.TypeClass, "", doc),
		key("internal.value.converter", connect.TypeClass, "", doc),
	}
}
