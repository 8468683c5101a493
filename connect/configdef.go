package connect

import (
	"slices"
	"strings"
)

// ConfigDef is the declared table of settings: from it come parsing, validation,
// documentation and the answers of REST. It is built once and then only read.
type ConfigDef struct {
	keys  []ConfigKey
	index map[string]int
	// Open tables take settings they do not declare, such as the entries passed
	// through to a driver. Others report them, with the nearest name.
	open func(name string) bool
}

// ConfigKey declares one setting.
type ConfigKey struct {
	Name string
	Type ConfigType
	// Default is the text that stands for an absent setting. A setting without one
	// is required, unless Optional says it may be absent.
	Default  string
	Optional bool
	Required bool
	// Check looks at the parsed setting; its error should say what would be right.
	Check       Check
	Importance  Importance
	Doc         string
	Group       string
	DisplayName string
	// Dependents are the settings whose recommended values or visibility follow
	// from this one.
	Dependents []string
	// Recommend proposes values in the light of the other settings; nil for none.
	Recommend func(Settings) []string
	// Visible tells whether the setting means anything now; nil: always.
	Visible func(Settings) bool
	// Aliases are former names that are still understood.
	Aliases []string
}

// ConfigType is the type of a setting, with Connect's names.
type ConfigType uint8

// The types of settings. Duration is Connect's LONG with milliseconds.
const (
	TypeString ConfigType = iota
	TypeInt
	TypeLong
	TypeShort
	TypeDouble
	TypeBoolean
	TypeList
	TypeClass
	TypePassword
	TypeDuration
)

var configTypeNames = [...]string{"STRING", "INT", "LONG", "SHORT", "DOUBLE", "BOOLEAN", "LIST", "CLASS", "PASSWORD", "LONG"}

// String returns the name Connect's REST interface uses.
func (t ConfigType) String() string { return configTypeNames[t] }

// Importance ranks settings for people.
type Importance uint8

// The ranks.
const (
	High Importance = iota
	Medium
	Low
)

// String returns the name Connect's REST interface uses.
func (i Importance) String() string { return [...]string{"HIGH", "MEDIUM", "LOW"}[i] }

// NewConfigDef returns the table of the given settings. A setting declared twice is
// a fault of the program: it panics.
func NewConfigDef(keys ...ConfigKey) *ConfigDef {
	d := &ConfigDef{index: make(map[string]int, len(keys))}
	for _, k := range keys {
		for _, name := range append([]string{k.Name}, k.Aliases...) {
			if _, twice := d.index[name]; twice {
				panic("connect: setting " + name + " is declared twice")
			}
			d.index[name] = len(d.keys)
		}
		d.keys = append(d.keys, k)
	}
	return d
}

// OpenTo returns the table with further settings allowed whose names the function
// accepts.
func (d *ConfigDef) OpenTo(accept func(name string) bool) *ConfigDef {
	wider := *d
	wider.open = accept
	return &wider
}

// With returns a table of the settings of both; those of other come last.
func (d *ConfigDef) With(other *ConfigDef) *ConfigDef {
	both := NewConfigDef(append(slices.Clone(d.keys), other.keys...)...)
	if !d.Open() && !other.Open() {
		return both
	}
	both.open = func(name string) bool {
		return d.open != nil && d.open(name) || other.open != nil && other.open(name)
	}
	return both
}

// Open tells whether the table takes settings it does not declare.
func (d *ConfigDef) Open() bool { return d.open != nil }

// Keys returns the declared settings in order, shared: do not write.
func (d *ConfigDef) Keys() []ConfigKey { return d.keys }

// Key returns the declaration of the setting of that name or alias.
func (d *ConfigDef) Key(name string) (ConfigKey, bool) {
	i, ok := d.index[name]
	if !ok {
		return ConfigKey{}, false
	}
	return d.keys[i], true
}

// ConfigValue is what validation says of one setting.
type ConfigValue struct {
	Name        string
	Value       *string // As given, or the default; nil when there is neither.
	Recommended []string
	Errors      []string
	// Warnings are what does not stand in the way, but will bite later.
	Warnings []string
	Visible  bool
	// Findings is a JSON array for tools: what a [Validator] found, in parts, in the
	// order in which it is best mended. Nil when there is nothing of the kind.
	Findings []byte
}

// ConfigValues are the results for all settings, by name.
type ConfigValues map[string]*ConfigValue

// AddError adds an error to a setting, which need not be declared.
func (vs ConfigValues) AddError(name, message string) {
	v := vs.of(name)
	v.Errors = append(v.Errors, message)
}

// AddWarning adds a warning to a setting, which need not be declared.
func (vs ConfigValues) AddWarning(name, message string) {
	v := vs.of(name)
	v.Warnings = append(v.Warnings, message)
}

func (vs ConfigValues) of(name string) *ConfigValue {
	v := vs[name]
	if v == nil {
		v = &ConfigValue{Name: name, Visible: true}
		vs[name] = v
	}
	return v
}

// Validate checks every setting and reports all faults at once, each where it
// belongs.
func (d *ConfigDef) Validate(config Config) ConfigValues {
	settings, faults := d.parse(config)
	values := make(ConfigValues, len(d.keys))
	for _, k := range d.keys {
		v := &ConfigValue{Name: k.Name, Visible: true}
		if text, ok := settings.raw(k.Name); ok {
			v.Value = &text
		}
		if k.Recommend != nil {
			v.Recommended = k.Recommend(settings)
		}
		if k.Visible != nil {
			v.Visible = k.Visible(settings)
		}
		values[k.Name] = v
	}
	for _, f := range faults {
		message := f.Message
		if f.Mend != "" {
			message += " → " + f.Mend
		}
		values.AddError(f.Place, message)
	}
	return values
}

// Parse returns the settings, defaults filled in, or all faults as [Errors].
func (d *ConfigDef) Parse(config Config) (Settings, error) {
	settings, faults := d.parse(config)
	return settings, faults.OrNil()
}

func (d *ConfigDef) parse(config Config) (Settings, Errors) {
	s := Settings{def: d, values: make(map[string]setting, len(d.keys)), config: config}
	var faults Errors
	for _, k := range d.keys {
		text, given := lookup(config, k)
		if !given {
			if k.Required {
				faults = append(faults, ConfigError(k.Name, "Missing required configuration %q which has no default value.", k.Name))
				continue
			}
			if k.Optional || k.Default == "" && k.Type != TypeString && k.Type != TypeList {
				continue
			}
			text = k.Default
		}
		v, err := k.Type.parse(k.Name, text)
		if err == nil && k.Check != nil && (given || text != "") {
			err = k.Check(k.Name, v)
		}
		if err != nil {
			faults = append(faults, err)
			v.raw = text
		}
		s.values[k.Name] = v
	}
	return s, append(faults, d.unknown(config)...)
}

func lookup(config Config, k ConfigKey) (string, bool) {
	if text, ok := config[k.Name]; ok {
		return text, true
	}
	for _, alias := range k.Aliases {
		if text, ok := config[alias]; ok {
			return text, true
		}
	}
	return "", false
}

// unknown reports settings nobody declared, sorted by name.
func (d *ConfigDef) unknown(config Config) (faults Errors) {
	var names []string
	for name := range config {
		if _, ok := d.index[name]; !ok && (d.open == nil || !d.open(name)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		e := &Error{Code: "config.unknown", Class: ClassConfig, Place: name, Message: "Unknown configuration " + strings.TrimSpace(name)}
		all := make([]string, 0, len(d.keys))
		for _, k := range d.keys {
			all = append(all, k.Name)
		}
		if near := Nearest(name, all); near != "" {
			e.Mend = "did you mean " + near + "?"
		}
		faults = append(faults, e)
	}
	return faults
}
