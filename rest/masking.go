package rest

import (
	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/connect"
)

// shown returns a configuration as it may be shown.
func (s *Server) shown(settings connect.Config) connect.Config {
	if settings == nil {
		return connect.Config{}
	}
	if !s.mask {
		return settings
	}
	return config.Mask(settings, s.secretsOf(settings))
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

// secretsOf returns a table of the PASSWORD settings of the plugin that settings name, nil
// when it is not known. It is made each time, since a plugin may have come with other
// settings than it had.
func (s *Server) secretsOf(settings connect.Config) *connect.ConfigDef {
	keys, err := s.o.Herder.PluginConfig(settings["connector.class"], settings["connector.plugin.version"])
	if err != nil {
		return nil
	}
	var secrets []connect.ConfigKey
	seen := map[string]bool{}
	for _, k := range keys {
		if k.Type != connect.TypePassword {
			continue
		}
		for _, name := range append([]string{k.Name}, k.Aliases...) {
			if !seen[name] {
				seen[name] = true
				secrets = append(secrets, connect.ConfigKey{Name: name, Type: connect.TypePassword, Optional: true})
			}
		}
	}
	return connect.NewConfigDef(secrets...)
}
