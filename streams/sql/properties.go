package sql

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidemill/tidemill/streams/sql/functions"
)

// properties are the entries of a WITH clause, read by name.
type properties struct {
	src  string
	list []property
}

// topicProperties are the properties of a topic to be made.
func topicProperties() []string {
	return []string{"KAFKA_TOPIC", "PARTITIONS", "REPLICAS", "RETENTION_MS", "CLEANUP_POLICY"}
}

// formatProperties say how keys and values are written.
func formatProperties() []string {
	return []string{"FORMAT", "KEY_FORMAT", "VALUE_FORMAT", "WRAP_SINGLE_VALUE"}
}

// timeProperties say which column has the time of a row.
func timeProperties() []string { return []string{"TIMESTAMP", "TIMESTAMP_FORMAT"} }

// otherProperties are those of ksqlDB that nothing here acts on.
func otherProperties() []string {
	return []string{"KEY_DELIMITER", "VALUE_DELIMITER", "KEY_SCHEMA_ID", "VALUE_SCHEMA_ID",
		"KEY_SCHEMA_FULL_NAME", "VALUE_SCHEMA_FULL_NAME", "VALUE_AVRO_SCHEMA_FULL_NAME",
		"KEY_PROTOBUF_NULLABLE_REPRESENTATION", "VALUE_PROTOBUF_NULLABLE_REPRESENTATION"}
}

// check refuses properties that are unknown, given twice or that this version does
// not act on.
func (p properties) check(known ...[]string) error {
	all := slices.Concat(known...)
	for i, prop := range p.list {
		n := upper(prop.text)
		if slices.Contains(otherProperties(), n) {
			return fault(p.src, prop.span, "sql.unsupported", "the property "+n+" is understood, but nothing acts on it here", "leave it out")
		}
		if !slices.Contains(all, n) {
			return fault(p.src, prop.span, "sql.unknown_property", "there is no property "+n+" here", didYouMean(n, all))
		}
		for _, before := range p.list[:i] {
			if upper(before.text) == n {
				return fault(p.src, prop.span, "sql.bad_property", n+" is given twice", "")
			}
		}
	}
	return nil
}

// find returns a property, nil when it is not given.
func (p properties) find(name string) *property {
	for i := range p.list {
		if upper(p.list[i].text) == name {
			return &p.list[i]
		}
	}
	return nil
}

// text returns a property as text.
func (p properties) text(name string) (string, bool) {
	prop := p.find(name)
	if prop == nil {
		return "", false
	}
	return prop.value.(*literal).text, true
}

// number returns a property as a whole number of at least low.
func (p properties) number(name string, low int) (int, bool, error) {
	prop := p.find(name)
	if prop == nil {
		return 0, false, nil
	}
	n, err := strconv.Atoi(prop.value.(*literal).text)
	if err != nil || n < low {
		return 0, false, fault(p.src, prop.value.place(), "sql.bad_property", name+" is a whole number of at least "+strconv.Itoa(low), "")
	}
	return n, true, nil
}

// flag returns a property as a boolean.
func (p properties) flag(name string) (value, given bool, err error) {
	prop := p.find(name)
	if prop == nil {
		return false, false, nil
	}
	switch upper(prop.value.(*literal).text) {
	case "TRUE":
		return true, true, nil
	case "FALSE":
		return false, true, nil
	}
	return false, false, fault(p.src, prop.value.place(), "sql.bad_property", name+" is TRUE or FALSE", "")
}

// formats returns the key and value formats, with given defaults.
func (p properties) formats(key, value string, available map[string]Format) (string, string, error) {
	read := func(name, fallback string) (string, error) {
		prop := p.find(name)
		if prop == nil {
			return fallback, nil
		}
		f := strings.ToUpper(prop.value.(*literal).text)
		known := []string{formatKafka}
		if name == "KEY_FORMAT" {
			known = append(known, formatNone)
		}
		for n := range available {
			known = append(known, n)
		}
		slices.Sort(known)
		if !slices.Contains(known, f) {
			hint := didYouMean(f, known)
			if hint == "" {
				hint = "there are " + strings.Join(known, ", ")
			}
			return "", fault(p.src, prop.value.place(), "sql.unknown_format", "there is no format "+f, hint)
		}
		return f, nil
	}
	if both := p.find("FORMAT"); both != nil {
		if other := p.find("KEY_FORMAT"); other != nil {
			return "", "", fault(p.src, other.span, "sql.bad_property", "FORMAT stands for both KEY_FORMAT and VALUE_FORMAT", "give FORMAT alone, or the other two")
		}
		if other := p.find("VALUE_FORMAT"); other != nil {
			return "", "", fault(p.src, other.span, "sql.bad_property", "FORMAT stands for both KEY_FORMAT and VALUE_FORMAT", "give FORMAT alone, or the other two")
		}
		f, err := read("FORMAT", "")
		return f, f, err
	}
	key, err := read("KEY_FORMAT", key)
	if err != nil {
		return "", "", err
	}
	value, err = read("VALUE_FORMAT", value)
	return key, value, err
}

// fits refuses columns that a source's formats cannot hold.
func (p properties) fits(at node, s *source) error {
	keys := s.columns[:s.keys()]
	switch {
	case s.keyFormat == formatNone && len(keys) > 0:
		return fault(p.src, at.place(), "sql.bad_format", "KEY_FORMAT NONE means that there are no key columns", "leave out KEY, or name another format")
	case s.keyFormat == formatKafka && len(keys) > 1:
		return fault(p.src, at.place(), "sql.bad_format", "the KAFKA format holds a key of one column only", "say KEY_FORMAT='JSON'")
	case s.keyFormat == formatKafka && len(keys) == 1 && !plainType(keys[0].typ):
		return fault(p.src, at.place(), "sql.bad_format", "the KAFKA format cannot hold a key of type "+keys[0].typ.String(), "say KEY_FORMAT='JSON'")
	}
	values := s.columns[len(keys):]
	if s.format == formatKafka && (len(values) != 1 || !plainType(values[0].typ)) {
		return fault(p.src, at.place(), "sql.bad_format", "the KAFKA format holds one value column of a plain type", "say VALUE_FORMAT='JSON'")
	}
	for _, k := range keys {
		if k.typ.Kind == functions.Map {
			return fault(p.src, at.place(), "sql.type", "a MAP cannot be a key", "")
		}
	}
	return nil
}

// windowing returns the windows that the keys of a topic name, nil for none.
func (p properties) windowing() (*windowing, error) {
	kind, size := p.find("WINDOW_TYPE"), p.find("WINDOW_SIZE")
	if kind == nil {
		if size != nil {
			return nil, fault(p.src, size.span, "sql.bad_property", "WINDOW_SIZE is that of a WINDOW_TYPE", "add WINDOW_TYPE='TUMBLING' or 'HOPPING'")
		}
		return nil, nil
	}
	of := &windowing{kind: upper(kind.value.(*literal).text)}
	switch {
	case !slices.Contains([]string{tumblingWindows, hoppingWindows, sessionWindows}, of.kind):
		return nil, fault(p.src, kind.value.place(), "sql.bad_property", "WINDOW_TYPE is TUMBLING, HOPPING or SESSION", "")
	case of.kind == sessionWindows && size != nil:
		return nil, fault(p.src, size.span, "sql.bad_property", "sessions have no size: each has its own", "leave out WINDOW_SIZE")
	case of.kind == sessionWindows:
		return of, nil
	case size == nil:
		return nil, fault(p.src, kind.span, "sql.bad_property", "windows of type "+of.kind+" have a size", "add WINDOW_SIZE='… SECONDS'")
	}
	d, err := parseDuration(size.value.(*literal).text)
	if err != nil {
		return nil, fault(p.src, size.value.place(), "sql.bad_property", "WINDOW_SIZE is a length of time such as '10 SECONDS'", "")
	}
	n, err := (&analyzer{src: p.src}).length(duration{span: size.value.place(), n: d.n, unit: d.unit}, time.Millisecond)
	of.size = n.Milliseconds()
	return of, err
}

// parseDuration reads a duration by itself.
func parseDuration(text string) (duration, error) {
	toks, err := lex(upper(text))
	if err != nil {
		return duration{}, err
	}
	p := &parser{src: text, toks: toks}
	d, err := p.duration()
	if err == nil && p.peek().kind != eof {
		err = p.unexpected()
	}
	return d, err
}
