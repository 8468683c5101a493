package worker

import (
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// ConfigDef returns the table of a worker's settings: those of
// connect-distributed.properties and of standalone workers. Settings of Kafka
// Connect that have no meaning here are accepted, and their Doc says so. Which
// settings a mode needs is checked by [New].
func ConfigDef() *connect.ConfigDef {
	var keys []connect.ConfigKey
	for _, group := range [][]connect.ConfigKey{commonKeys(), storageKeys(), groupKeys(), restKeys(), clientKeys(), metricsKeys(), tracingKeys(), ignoredKeys()} {
		keys = append(keys, group...)
	}
	return connect.NewConfigDef(keys...).OpenTo(passedThrough)
}

// passedThrough tells whether a worker setting belongs to something else: clients,
// converters, secret providers, TLS of the REST interface, or another room of this
// program.
func passedThrough(name string) bool {
	for _, prefix := range []string{
		"producer.", "consumer.", "admin.", "key.converter.", "value.converter.", "header.converter.",
		"config.providers.", "listeners.https.", "admin.listeners.https.", "ssl.", "sasl.", "security.",
		"config.storage.", "offset.storage.", "status.storage.", "plugin.", "metrics.", "metric.",
		"internal.key.converter", "internal.value.converter", "tidemill.", "rest.", "streams.", "sql.", "ksql.", "pgwire.", "registry.", "dev.", "log.",
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// key is one setting; further fields are set on what it returns.
func key(name string, t connect.ConfigType, def, doc string) connect.ConfigKey {
	return connect.ConfigKey{Name: name, Type: t, Default: def, Optional: def == "" && t != connect.TypeList, Importance: connect.Medium, Doc: doc, Group: "Worker"}
}

func checked(k connect.ConfigKey, check connect.Check) connect.ConfigKey {
	k.Check = check
	return k
}

// checkMode reports the settings the mode needs and does not have.
func checkMode(s connect.Settings, standalone bool) connect.Errors {
	needed := []string{"group.id", "config.storage.topic", "offset.storage.topic", "status.storage.topic"}
	if standalone {
		needed = []string{"offset.storage.file.filename"}
	}
	var faults connect.Errors
	for _, name := range append([]string{"key.converter", "value.converter"}, needed...) {
		if s.String(name) == "" {
			e := connect.ConfigError(name, "Missing required configuration %q which has no default value.", name)
			e.Mend = "set it in the worker's properties"
			faults = append(faults, e)
		}
	}
	switch s.String("exactly.once.source.support") {
	case "disabled", "preparing", "enabled":
	default:
		e := connect.ConfigError("exactly.once.source.support", "Invalid value %s: String must be one of: disabled, preparing, enabled", s.String("exactly.once.source.support"))
		faults = append(faults, e)
	}
	return faults
}

// exactlyOnce tells whether source tasks write in transactions.
func exactlyOnce(s connect.Settings) bool {
	return s.String("exactly.once.source.support") == "enabled"
}

// workerID returns host:port of the worker's REST interface as others know it.
func workerID(s connect.Settings) string {
	host, port := s.String("rest.advertised.host.name"), ""
	if n := s.Int("rest.advertised.port"); n > 0 {
		port = strconv.Itoa(n)
	}
	for _, listener := range s.List("listeners") {
		u, err := url.Parse(strings.TrimSpace(listener))
		if err != nil || u.Host == "" {
			continue
		}
		if host == "" {
			host = u.Hostname()
		}
		if port == "" {
			port = u.Port()
		}
		break
	}
	if host == "" || host == "0.0.0.0" || host == "::" {
		if name, err := os.Hostname(); err == nil {
			host = name
		}
	}
	if port == "" || port == "0" {
		port = "8083"
	}
	return net.JoinHostPort(host, port)
}

// graceful is how long tasks may take to stop.
func graceful(s connect.Settings) time.Duration {
	return s.Duration("task.shutdown.graceful.timeout.ms")
}
