package host

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/plugin/internal/line"
)

// checkClass refuses a description that could not be used.
func checkClass(c line.Class) error {
	if c.Class == "" || strings.ContainsAny(c.Class, " \t\r\n/") {
		return errors.New("this is no name of a class")
	}
	switch c.Role {
	case line.Source, line.Sink, line.Transform, line.Predicate, line.Converter:
	default:
		return fmt.Errorf("this worker does not know what a %s is: the plugin is made for a newer one", c.Role)
	}
	seen := map[string]bool{}
	for _, s := range c.Settings {
		if s.Type > connect.TypeDuration || s.Importance > connect.Low {
			return fmt.Errorf("the setting %s is of a type or importance this worker does not know: the plugin is made for a newer one", s.Name)
		}
		for _, name := range append([]string{s.Name}, s.Aliases...) {
			if seen[name] {
				return fmt.Errorf("the setting %s is declared twice", name)
			}
			seen[name] = true
		}
	}
	return nil
}

// definition is the table of a class's settings, nil when it has none. It checks types;
// the plugin's own checks are made by its process.
func definition(c line.Class) *connect.ConfigDef {
	if c.Settings == nil {
		return nil
	}
	keys := make([]connect.ConfigKey, len(c.Settings))
	for i, s := range c.Settings {
		keys[i] = connect.ConfigKey{
			Name: s.Name, Type: s.Type, Default: s.Default, Optional: s.Optional, Required: s.Required, Importance: s.Importance, Doc: s.Doc,
			Group: s.Group, DisplayName: s.DisplayName, Dependents: s.Dependents, Aliases: s.Aliases,
		}
	}
	def := connect.NewConfigDef(keys...)
	if c.Open {
		def = def.OpenTo(func(string) bool { return true })
	}
	return def
}
