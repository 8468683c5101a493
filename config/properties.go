package config

import (
	"unicode/utf8"

	"github.com/magiconair/properties"
)

// parseProperties reads Java's .properties format. ${…} stays as it is written: it
// is a reference to a secret, not to another property. Of a key that stands twice,
// the last counts, as in Java. The text is UTF-8; what is not valid UTF-8 is read as
// ISO 8859-1, Java's former default.
func parseProperties(name string, data []byte) (map[string]string, error) {
	if len(data) > maxBytes {
		return nil, fault("config.too_large", name, "the document is larger than %d MiB", maxBytes>>20)
	}
	loader := properties.Loader{Encoding: properties.UTF8, DisableExpansion: true}
	if !utf8.Valid(data) {
		loader.Encoding = properties.ISO_8859_1
	}
	p, err := loader.LoadBytes(data)
	if err != nil {
		e := fault("config.syntax", name, "this is not a .properties file")
		e.Cause = err
		return nil, e
	}
	return p.Map(), nil
}
