package raw

import (
	"context"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// entry is one converter of the package: what to list it under, and how to make
// one.
type entry struct {
	class, alias, doc string
	config            *connect.ConfigDef
	make              func() connect.Converter
}

// entries lists the converters. To add one, add it here.
func entries() []entry {
	const storage, converters = "org.apache.kafka.connect.storage.", "org.apache.kafka.connect.converters."
	list := []entry{
		{storage + "StringConverter", "tidemill.String", "Text; anything else is printed.", textConfig(), func() connect.Converter { return &Text{} }},
	}
	for _, l := range layouts {
		list = append(list, entry{
			converters + l.name + "Converter", "tidemill." + l.name, l.doc, plainConfig(),
			func() connect.Converter { return newFixed(l) },
		})
	}
	return list
}

// Plugins lists the converters of keys and values.
func Plugins() []connect.Plugin[connect.Converter] {
	var list []connect.Plugin[connect.Converter]
	for _, e := range entries() {
		list = append(list, connect.Plugin[connect.Converter]{
			Class: e.class, Aliases: []string{e.alias}, Doc: e.doc, Config: e.config, New: e.make,
		})
	}
	return list
}

// HeaderPlugins lists the converters of headers: SimpleHeaderConverter, and all of
// [Plugins].
func HeaderPlugins() []connect.Plugin[connect.HeaderConverter] {
	list := []connect.Plugin[connect.HeaderConverter]{{
		Class: "org.apache.kafka.connect.storage.SimpleHeaderConverter", Aliases: []string{"tidemill.SimpleHeader"},
		Doc:    "Headers as text; their types are guessed when they are read.",
		Config: plainConfig(), New: func() connect.HeaderConverter { return &SimpleHeaders{} },
	}}
	for _, e := range entries() {
		list = append(list, connect.Plugin[connect.HeaderConverter]{
			Class: e.class, Aliases: []string{e.alias}, Doc: e.doc, Config: e.config,
			New: func() connect.HeaderConverter { return headers{e.make()} },
		})
	}
	return list
}

// headers puts a converter of values to work on headers.
type headers struct{ c connect.Converter }

func (h headers) Configure(config connect.Config) error { return h.c.Configure(config, false) }

func (h headers) FromConnectHeader(dst []byte, topic string, header connect.Header) ([]byte, error) {
	return h.c.FromConnect(context.Background(), dst, topic, header.Schema, header.Value)
}

func (h headers) ToConnectHeader(topic, key string, data []byte) (connect.Header, error) {
	s, v, err := h.c.ToConnect(context.Background(), topic, data)
	return connect.Header{Key: key, Schema: s, Value: v}, err
}

func (h headers) Close() error { return h.c.Close() }

// plainConfig is the table of settings every converter takes.
func plainConfig() *connect.ConfigDef {
	return connect.NewConfigDef(connect.ConfigKey{
		Name: "converter.type", Optional: true, Importance: connect.Low,
		Check: connect.OneOf("key", "value", "header"),
		Doc:   "What the converter is used for; the worker knows, so this need not be set.",
	}).OpenTo(foreign)
}

// foreign accepts settings of other converters. People change a converter's class
// and leave its settings where they are, and Kafka Connect lets them.
func foreign(name string) bool {
	switch name {
	case "schemas.enable", "schemas.cache.size", "schemas.cache.config", "decimal.format", "replace.null.with.default",
		"converter.encoding", "auto.register.schemas", "use.latest.version", "enhanced.avro.schema.support",
		"scrub.invalid.names", "connect.meta.data":
		return true
	}
	return strings.HasPrefix(name, "schema.registry.") || strings.HasPrefix(name, "basic.auth.") || strings.HasPrefix(name, "bearer.auth.")
}

// recordError returns the error for a record that does not convert.
func recordError(topic, message string, cause error) error {
	return &connect.Error{
		Code: "raw.invalid", Class: connect.ClassRecord, Place: topic, Message: message, Cause: cause,
		Mend: "use the converter this topic is written with",
	}
}
