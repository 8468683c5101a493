package rest

import (
	"iter"
	"net/http"
	"regexp"
	"strings"

	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/rest/auth"
)

// shown returns a configuration as it may be shown. What is not masked is for those who
// may also write it.
func (s *Server) shown(r *http.Request, name string, settings connect.Config) connect.Config {
	return s.veil(r).config(name, settings)
}

// veil shows many configurations to who asks in one request: the table of a plugin's secrets
// is made once for all of them.
type veil struct {
	s     *Server
	who   *auth.Principal
	known map[veiled]*connect.ConfigDef
}

// veiled are the plugins whose settings a configuration has.
type veiled struct{ class, version, parts string }

func (s *Server) veil(r *http.Request) *veil {
	return &veil{s: s, who: auth.From(r.Context()), known: map[veiled]*connect.ConfigDef{}}
}

func (v *veil) config(name string, settings connect.Config) connect.Config {
	if settings == nil {
		return connect.Config{}
	}
	if !v.s.mask && v.who.May(auth.Admin, name) {
		return settings
	}
	plugin := veiled{settings["connector.class"], settings["connector.plugin.version"], ""}
	for prefix, class := range parts(settings) {
		plugin.parts += prefix + "\n" + class + "\n" + settings[prefix+"plugin.version"] + "\n"
	}
	secrets, ok := v.known[plugin]
	if !ok {
		secrets = v.s.secretsOf(settings)
		v.known[plugin] = secrets
	}
	return config.Mask(settings, secrets)
}

// unmasked replaces masked settings by those the connector has now: a mask that is
// written back means "unchanged".
func (s *Server) unmasked(name string, settings connect.Config) (connect.Config, error) {
	info, err := s.o.Herder.Connector(name)
	if err != nil {
		info.Config = nil // There is none yet, which Unmask has a word for.
	}
	settings, err = config.Unmask(settings, info.Config, s.secretsOf(info.Config))
	s.learn(settings)
	return settings, err
}

// learn makes the secrets of settings known before anybody works with them, so that
// no error can quote one.
func (s *Server) learn(settings connect.Config) {
	if s.o.Redactor != nil {
		s.o.Redactor.AddConfig(settings, s.secretsOf(settings))
	}
}

// sqlSetting is a setting in a statement, such as 'database.password' = 'it”s'.
var sqlSetting = regexp.MustCompile(`'([^']+)'\s*=\s*'((?:[^']|'')+)'`)

// LearnSQL makes the secrets in statements known, also in those that are not understood.
func (s *Server) LearnSQL(text string) {
	settings := connect.Config{}
	for _, m := range sqlSetting.FindAllStringSubmatch(text, -1) {
		if config.IsSecret(m[1]) && s.o.Redactor != nil {
			s.o.Redactor.Add(m[2])
		}
		settings[m[1]] = strings.ReplaceAll(m[2], "''", "'")
	}
	s.learn(settings)
}

// secretsOf returns a table of the PASSWORD settings of the plugins that settings name:
// the connector, transforms, predicates and converters, as far as they are known. It is made
// each time, since a plugin may have come with other settings than it had.
func (s *Server) secretsOf(settings connect.Config) *connect.ConfigDef {
	var secrets []connect.ConfigKey
	seen := map[string]bool{}
	add := func(prefix, class, version string) {
		keys, err := s.o.Herder.PluginConfig(class, version)
		if err != nil {
			return // It is not there, and neither are settings of it.
		}
		for _, k := range keys {
			if k.Type != connect.TypePassword {
				continue
			}
			for _, name := range append([]string{k.Name}, k.Aliases...) {
				if name = prefix + name; !seen[name] {
					seen[name] = true
					secrets = append(secrets, connect.ConfigKey{Name: name, Type: connect.TypePassword, Optional: true})
				}
			}
		}
	}
	add("", settings["connector.class"], settings["connector.plugin.version"])
	for prefix, class := range parts(settings) {
		add(prefix, class, settings[prefix+"plugin.version"])
	}
	return connect.NewConfigDef(secrets...)
}

// parts are the prefixes of the settings of transforms, predicates and converters, and their
// classes.
func parts(settings connect.Config) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, list := range []string{"transforms", "predicates"} {
			for alias := range strings.SplitSeq(settings[list], ",") {
				prefix := list + "." + strings.TrimSpace(alias) + "."
				if class := settings[prefix+"type"]; class != "" && !yield(prefix, class) {
					return
				}
			}
		}
		for _, name := range []string{"key.converter", "value.converter"} {
			if class := settings[name]; class != "" && !yield(name+".", class) {
				return
			}
		}
	}
}
