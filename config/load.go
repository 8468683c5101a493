package config

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// Origin says where a setting was given.
type Origin struct {
	Source string // "flag", "env", "file".
	Name   string // The flag, the variable, or the file and, where known, the line.
}

// String returns the origin as a person reads it, such as "env CONNECT_GROUP_ID".
func (o Origin) String() string { return o.Source + " " + o.Name }

// Sources are the places worker settings come from. A flag wins over the
// environment and the environment over the file.
type Sources struct {
	// File is a .properties, .json, .yaml or .yml file; any other name is read as
	// .properties. Empty: there is none.
	File string
	// Environ lists NAME=value pairs as os.Environ does. CONNECT_FOO_BAR sets foo.bar,
	// and so does TIDEMILL_FOO_BAR, which wins over it. In a name, _ stands for a dot,
	// __ for a dash and ___ for an underscore, as in the common container images.
	Environ []string
	// NotSettings lists variables with these prefixes that mean something else.
	NotSettings []string
	// Flags are settings given on the command line.
	Flags map[string]string
}

// Loaded are merged settings with their origins.
type Loaded struct {
	Config  connect.Config
	Origins map[string]Origin
}

func (l Loaded) set(key, text string, from Origin) {
	l.Config[key] = text
	l.Origins[key] = from
}

// Load reads and merges worker settings. Its errors are [connect.Error] with the
// codes config.file, config.syntax, config.shape, config.duplicate and
// config.too_large.
func Load(from Sources) (Loaded, error) {
	l := Loaded{Config: connect.Config{}, Origins: map[string]Origin{}}
	if from.File != "" {
		if err := l.file(from.File); err != nil {
			return Loaded{}, err
		}
	}
	for _, prefix := range []string{"CONNECT_", "TIDEMILL_"} {
		l.environ(prefix, from)
	}
	for _, key := range sortedKeys(from.Flags) {
		l.set(key, from.Flags[key], Origin{Source: "flag", Name: key})
	}
	return l, nil
}

func (l Loaded) file(path string) error {
	data, err := readFile(path)
	if err != nil {
		return err
	}
	settings, err := parseWorker(path, data)
	if err != nil {
		return err
	}
	for _, s := range settings {
		l.set(s.key, s.text, Origin{Source: "file", Name: at(path, s.line)})
	}
	return nil
}

// parseWorker reads worker settings in the format the name tells.
func parseWorker(name string, data []byte) ([]flat, error) {
	var docs []*node
	switch format(name) {
	case ".json":
		n, err := parseJSON(name, data)
		if err != nil {
			return nil, err
		}
		docs = []*node{n}
	case ".yaml", ".yml":
		var err error
		if docs, err = parseYAML(name, data); err != nil {
			return nil, err
		}
		if len(docs) == 0 {
			return nil, nil
		}
	default:
		settings, err := parseProperties(name, data)
		if err != nil {
			return nil, err
		}
		var out []flat
		for _, key := range sortedKeys(settings) {
			out = append(out, flat{key: key, text: settings[key]})
		}
		return out, nil
	}
	if len(docs) > 1 {
		return nil, fault("config.shape", at(name, docs[1].line), "worker settings must be one document")
	}
	return flatten(name, docs[0])
}

func (l Loaded) environ(prefix string, from Sources) {
	for _, pair := range from.Environ {
		name, text, _ := strings.Cut(pair, "=")
		rest, ok := strings.CutPrefix(name, prefix)
		other := slices.ContainsFunc(from.NotSettings, func(p string) bool { return strings.HasPrefix(name, p) })
		if !ok || rest == "" || other {
			continue
		}
		l.set(settingName(rest), text, Origin{Source: "env", Name: name})
	}
}

// settingName turns the rest of a variable's name into that of a setting.
func settingName(rest string) string {
	return strings.NewReplacer("___", "_", "__", "-", "_", ".").Replace(strings.ToLower(rest))
}

// format returns the lower-case ending of a file's name.
func format(name string) string { return strings.ToLower(filepath.Ext(name)) }

// readFile reads a regular file, up to the limit.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return nil, fileError(path, err)
	}
	return data, nil
}

func fileError(path string, err error) error {
	return &connect.Error{
		Code: "config.file", Class: connect.ClassConfig, Place: path,
		Message: "the file cannot be read", Cause: err, Mend: "check the path and the rights",
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
