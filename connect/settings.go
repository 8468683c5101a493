package connect

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Settings are parsed settings with their defaults filled in. Asking for a setting
// that was not declared, or by another type, is a fault of the program: it panics.
type Settings struct {
	def    *ConfigDef
	values map[string]setting
	config Config
}

// setting is one parsed setting.
type setting struct {
	raw   string
	num   int64
	float float64
	list  []string
}

func (s Settings) raw(name string) (string, bool) {
	v, ok := s.values[name]
	return v.raw, ok
}

func (s Settings) get(name string, types ...ConfigType) setting {
	k, ok := s.def.Key(name)
	if ok {
		for _, t := range types {
			if k.Type == t {
				return s.values[k.Name]
			}
		}
	}
	panic("connect: setting " + name + " is not declared as asked for")
}

// Has tells whether the setting was given or has a default.
func (s Settings) Has(name string) bool {
	_, ok := s.values[name]
	return ok
}

// Given tells whether the setting was given, so that a default of it does not
// count.
func (s Settings) Given(name string) bool {
	k, ok := s.def.Key(name)
	if !ok {
		return false
	}
	_, given := lookup(s.config, k)
	return given
}

// Config returns the settings as they were given.
func (s Settings) Config() Config { return s.config }

// String returns a STRING, CLASS or PASSWORD setting, "" when absent.
func (s Settings) String(name string) string {
	return s.get(name, TypeString, TypeClass, TypePassword).raw
}

// Int returns an INT, LONG or SHORT setting, 0 when absent.
func (s Settings) Int(name string) int { return int(s.get(name, TypeInt, TypeLong, TypeShort).num) }

// Int64 returns an INT, LONG or SHORT setting, 0 when absent.
func (s Settings) Int64(name string) int64 { return s.get(name, TypeInt, TypeLong, TypeShort).num }

// Float returns a DOUBLE setting, 0 when absent.
func (s Settings) Float(name string) float64 { return s.get(name, TypeDouble).float }

// Bool returns a BOOLEAN setting, false when absent.
func (s Settings) Bool(name string) bool { return s.get(name, TypeBoolean).num != 0 }

// List returns a LIST setting, nil when absent or empty.
func (s Settings) List(name string) []string { return s.get(name, TypeList).list }

// Duration returns a duration setting, 0 when absent.
func (s Settings) Duration(name string) time.Duration {
	return time.Duration(s.get(name, TypeDuration).num) * time.Millisecond
}

// parse reads text as a setting of type t. White space around it does not count.
func (t ConfigType) parse(name, text string) (setting, *Error) {
	trimmed := strings.TrimSpace(text)
	v := setting{raw: trimmed}
	var err error
	switch t {
	case TypePassword:
		v.raw = text
	case TypeInt:
		v.num, err = strconv.ParseInt(trimmed, 10, 32)
	case TypeShort:
		v.num, err = strconv.ParseInt(trimmed, 10, 16)
	case TypeLong, TypeDuration:
		v.num, err = strconv.ParseInt(trimmed, 10, 64)
	case TypeDouble:
		v.float, err = strconv.ParseFloat(trimmed, 64)
	case TypeBoolean:
		return parseBool(name, v)
	case TypeList:
		v.list = splitList(trimmed)
	}
	if err != nil {
		return v, ConfigError(name, "Invalid value %s for configuration %s: Not a number of type %s", text, name, t)
	}
	return v, nil
}

func parseBool(name string, v setting) (setting, *Error) {
	switch strings.ToLower(v.raw) {
	case "true":
		v.num = 1
	case "false":
	default:
		return v, ConfigError(name, "Invalid value %s for configuration %s: Expected value to be either true or false", v.raw, name)
	}
	return v, nil
}

func splitList(text string) []string {
	if text == "" {
		return nil
	}
	parts := strings.Split(text, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// Check looks at a parsed setting; nil means it is right.
type Check func(name string, v setting) *Error

func wrong(name string, v setting, format string, args ...any) *Error {
	return ConfigError(name, "Invalid value %s for configuration %s: %s", v.raw, name, fmt.Sprintf(format, args...))
}

// Between accepts numbers from low to high, both included.
func Between(low, high int64) Check {
	return func(name string, v setting) *Error {
		switch {
		case v.num < low:
			return wrong(name, v, "Value must be at least %d", low)
		case v.num > high:
			return wrong(name, v, "Value must be no more than %d", high)
		}
		return nil
	}
}

// OneOf accepts the given words, in any case.
func OneOf(words ...string) Check {
	return func(name string, v setting) *Error {
		for _, w := range words {
			if strings.EqualFold(w, v.raw) {
				return nil
			}
		}
		e := wrong(name, v, "String must be one of: %s", strings.Join(words, ", "))
		if near := Nearest(v.raw, words); near != "" {
			e.Mend = "did you mean " + near + "?"
		}
		return e
	}
}

// CheckText makes a check of a function over the text of a setting.
func CheckText(f func(text string) error) Check {
	return func(name string, v setting) *Error {
		if err := f(v.raw); err != nil {
			return wrong(name, v, "%s", err)
		}
		return nil
	}
}
