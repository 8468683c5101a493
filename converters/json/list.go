package json

import (
	"context"

	"github.com/tidemill/tidemill/connect"
)

const (
	class = "org.apache.kafka.connect.json.JsonConverter"
	alias = "tidemill.Json"
	about = "JSON, with each record's schema or without."
)

// Plugins lists the converter of keys and values.
func Plugins() []connect.Plugin[connect.Converter] {
	return []connect.Plugin[connect.Converter]{{
		Class: class, Aliases: []string{alias}, Doc: about, Config: configDef(),
		New: func() connect.Converter { return &Converter{} },
	}}
}

// HeaderPlugins lists the converter of headers.
func HeaderPlugins() []connect.Plugin[connect.HeaderConverter] {
	return []connect.Plugin[connect.HeaderConverter]{{
		Class: class, Aliases: []string{alias}, Doc: about, Config: configDef(),
		New: func() connect.HeaderConverter { return headers{&Converter{}} },
	}}
}

// headers puts the converter to work on headers.
type headers struct{ c *Converter }

func (h headers) Configure(config connect.Config) error { return h.c.Configure(config, false) }

func (h headers) FromConnectHeader(dst []byte, topic string, header connect.Header) ([]byte, error) {
	return h.c.FromConnect(context.Background(), dst, topic, header.Schema, header.Value)
}

func (h headers) ToConnectHeader(topic, key string, data []byte) (connect.Header, error) {
	s, v, err := h.c.ToConnect(context.Background(), topic, data)
	return connect.Header{Key: key, Schema: s, Value: v}, err
}

func (h headers) Close() error { return h.c.Close() }
