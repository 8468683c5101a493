package avro

import (
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// The names of the strategies that name a schema's subject in the registry.
const (
	strategyTopic       = "TopicNameStrategy"
	strategyRecord      = "RecordNameStrategy"
	strategyTopicRecord = "TopicRecordNameStrategy"
	strategyPackage     = "io.confluent.kafka.serializers.subject."
)

// configDef is the table of the converter's settings: Confluent's names.
func configDef() *connect.ConfigDef {
	return registryDef().With(mappingDef()).OpenTo(foreign)
}

// registryDef is the table of the settings of the registry's client.
func registryDef() *connect.ConfigDef {
	return connect.NewConfigDef(
		connect.ConfigKey{
			Name: "schema.registry.url", Type: connect.TypeList, Required: true, Importance: connect.High, Group: "Registry",
			Doc: "The URLs of the schema registry, separated by commas. The next is asked when one does not answer.",
		},
		connect.ConfigKey{
			Name: "basic.auth.credentials.source", Default: "URL", Importance: connect.Medium, Group: "Registry",
			Check:   connect.OneOf("URL", "USER_INFO"),
			Aliases: []string{"schema.registry.basic.auth.credentials.source"},
			Doc:     "Where user and password stand: in the URL, or in basic.auth.user.info.",
		},
		secret("basic.auth.user.info", "User and password of the registry, with a colon between them.", "schema.registry.basic.auth.user.info"),
		connect.ConfigKey{
			Name: "bearer.auth.credentials.source", Default: "STATIC_TOKEN", Importance: connect.Medium, Group: "Registry",
			Check:   connect.OneOf("STATIC_TOKEN"),
			Aliases: []string{"schema.registry.bearer.auth.credentials.source"},
			Doc:     "Where the bearer token comes from: bearer.auth.token.",
		},
		secret("bearer.auth.token", "A token the registry takes instead of user and password.", "schema.registry.bearer.auth.token"),
		pemKey("schema.registry.ssl.truststore.location", "A PEM file with the certificates of the authorities that sign the registry's; the system's own when absent."),
		pemKey("schema.registry.ssl.truststore.certificates", "These certificates in PEM form themselves."),
		connect.ConfigKey{
			Name: "schema.registry.ssl.truststore.type", Default: "PEM", Importance: connect.Medium, Group: "Registry", Check: connect.OneOf("PEM"),
			Doc: "The form of the truststore. Turn another into PEM with: keytool -exportcert -rfc",
		},
		pemKey("schema.registry.ssl.keystore.location", "A PEM file with the client's certificates and its private key."),
		pemKey("schema.registry.ssl.keystore.certificate.chain", "The client's certificates in PEM form themselves."),
		secret("schema.registry.ssl.keystore.key", "The client's private key in PEM form, not encrypted."),
		connect.ConfigKey{
			Name: "schema.registry.ssl.keystore.type", Default: "PEM", Importance: connect.Medium, Group: "Registry", Check: connect.OneOf("PEM"),
			Doc: "The form of the keystore. Turn another into PEM with: openssl pkcs12 -nodes",
		},
		connect.ConfigKey{
			Name: "schema.registry.ssl.endpoint.identification.algorithm", Default: "https", Importance: connect.Low, Group: "Registry",
			Check: connect.OneOf("https", ""), Doc: "Whether the registry's certificate must name its host: https, or nothing for no.",
		},
		wait("http.connect.timeout.ms", "60000", "How long to wait for a connection to the registry."),
		wait("http.read.timeout.ms", "60000", "How long one request to the registry may take."),
		connect.ConfigKey{
			Name: "max.retries", Type: connect.TypeInt, Default: "3", Importance: connect.Low, Group: "Registry",
			Check: connect.Between(0, 1000), Aliases: []string{"schema.registry.max.retries"},
			Doc: "How often a request that failed for a passing reason is made again before the record's conversion fails, to be retried by the worker.",
		},
		wait("retries.wait.ms", "1000", "How long to wait before the first of these; each further wait is twice as long."),
		wait("retries.max.wait.ms", "20000", "How long to wait at most."),
	).OpenTo(foreign)
}

func secret(name, doc string, aliases ...string) connect.ConfigKey {
	return connect.ConfigKey{Name: name, Type: connect.TypePassword, Optional: true, Importance: connect.Medium, Group: "Registry", Doc: doc, Aliases: aliases}
}

func pemKey(name, doc string) connect.ConfigKey {
	return connect.ConfigKey{Name: name, Optional: true, Importance: connect.Medium, Group: "Registry", Doc: doc}
}

func wait(name, def, doc string) connect.ConfigKey {
	return connect.ConfigKey{
		Name: name, Type: connect.TypeDuration, Default: def, Importance: connect.Low, Group: "Registry",
		Check: connect.Between(0, 1<<40), Doc: doc, Aliases: []string{"schema.registry." + name},
	}
}

// mappingDef is the table of the settings of the conversion itself.
func mappingDef() *connect.ConfigDef {
	flag := func(name, def, doc string) connect.ConfigKey {
		return connect.ConfigKey{Name: name, Type: connect.TypeBoolean, Default: def, Importance: connect.Low, Group: "Schemas", Doc: doc}
	}
	strategy := func(name, what string) connect.ConfigKey {
		return connect.ConfigKey{
			Name: name, Type: connect.TypeClass, Default: strategyPackage + strategyTopic, Importance: connect.Medium, Group: "Schemas",
			Check: connect.OneOf(strategyPackage+strategyTopic, strategyPackage+strategyRecord, strategyPackage+strategyTopicRecord,
				strategyTopic, strategyRecord, strategyTopicRecord),
			Doc: "How the subject of a " + what + " schema is named: by the topic, by the record, or by both.",
		}
	}
	return connect.NewConfigDef(
		flag("auto.register.schemas", "true", "Whether new schemas are registered. If not, they must be there."),
		flag("use.latest.version", "false", "Whether to write with the subject's latest schema, when auto.register.schemas is false."),
		strategy("key.subject.name.strategy", "key's"), strategy("value.subject.name.strategy", "value's"),
		connect.ConfigKey{
			Name: "schemas.cache.config", Type: connect.TypeInt, Default: "1000", Importance: connect.Low, Group: "Schemas",
			Check: connect.Between(1, 1<<30), Aliases: []string{"schemas.cache.size"}, Doc: "The number of schemas that are kept compiled.",
		},
		flag("enhanced.avro.schema.support", "false", "Whether enums are kept as enums, and members of unions named with their namespace."),
		flag("scrub.invalid.names", "false", "Whether characters that Avro does not allow in names are replaced."),
		flag("connect.meta.data", "true", "Whether schemas carry what Connect says and Avro does not know: names, versions, parameters, documentation."),
		flag("allow.optional.map.keys", "false", "Whether maps with optional string keys are written as Avro maps."),
		flag("flatten.singleton.unions", "true", "Whether a union of one type is read as that type."),
		flag("ignore.default.for.nullables", "false", "Whether an absent value that has a default is written as null."),
		connect.ConfigKey{
			Name: "converter.type", Optional: true, Importance: connect.Low, Check: connect.OneOf("key", "value", "header"),
			Doc: "What the converter is used for; the worker knows, so this need not be set.",
		},
	)
}

// foreign accepts settings of other converters, which people leave in place when
// they change the class, and those of Confluent's that have nothing to act on here:
// sizes of caches, and code that cannot be loaded.
func foreign(name string) bool {
	switch strings.TrimPrefix(name, "schema.registry.") {
	case "schemas.enable", "decimal.format", "replace.null.with.default", "converter.encoding",
		"max.schemas.per.subject", "latest.compatibility.strict", "id.compatibility.strict", "url.randomize",
		"latest.cache.size", "latest.cache.ttl.sec", "missing.cache.size", "missing.id.cache.ttl.sec", "missing.version.cache.ttl.sec",
		"missing.schema.cache.ttl.sec", "avro.use.logical.type.converters", "specific.avro.reader",
		"ssl.truststore.password", "ssl.keystore.password", "ssl.key.password", "ssl.protocol", "ssl.enabled.protocols":
		return true
	}
	return false
}

// settings are the converter's settings.
type settings struct {
	mapping
	autoRegister bool
	useLatest    bool
	strategy     string
	cacheSize    int
}

func readSettings(s connect.Settings, isKey bool) settings {
	strategy := s.String("value.subject.name.strategy")
	if isKey {
		strategy = s.String("key.subject.name.strategy")
	}
	strategy = strategy[strings.LastIndexByte(strategy, '.')+1:]
	for _, known := range []string{strategyTopic, strategyRecord, strategyTopicRecord} {
		if strings.EqualFold(strategy, known) {
			strategy = known
		}
	}
	return settings{
		mapping:      readMapping(s),
		autoRegister: s.Bool("auto.register.schemas"), useLatest: s.Bool("use.latest.version"),
		strategy: strategy, cacheSize: s.Int("schemas.cache.config"),
	}
}

func readMapping(s connect.Settings) mapping {
	return mapping{
		metadata: s.Bool("connect.meta.data"), enhanced: s.Bool("enhanced.avro.schema.support"),
		scrub: s.Bool("scrub.invalid.names"), optionalKeys: s.Bool("allow.optional.map.keys"),
		flatten: s.Bool("flatten.singleton.unions"), ignoreDefaults: s.Bool("ignore.default.for.nullables"),
	}
}

// subject names the subject of a schema in the registry.
func (s settings) subject(topic string, isKey bool, n *node) (string, error) {
	suffix := "-value"
	if isKey {
		suffix = "-key"
	}
	if s.strategy == strategyTopic {
		return topic + suffix, nil
	}
	if n.typ == tUnion {
		if _, some := nullable(n); some != nil {
			n = some
		}
	}
	if n.typ != tRecord {
		return "", &connect.Error{
			Code: "avro.subject", Class: connect.ClassFatal, Place: topic,
			Message: "the " + s.strategy + " names a subject after its record, and the schema is " + n.typ.String(),
			Mend:    "use the " + strategyTopic + " for this " + strings.TrimPrefix(suffix, "-"),
		}
	}
	if s.strategy == strategyTopicRecord {
		return topic + "-" + n.name, nil
	}
	return n.name, nil
}

// backoff says how often and after which time a request is made again.
type backoff struct {
	retries     int
	first, most time.Duration
}
