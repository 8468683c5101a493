package worker

import (
	"github.com/tidemill/tidemill/connect"
)

// Plugins returns all plugins: sinks, sources, transforms, predicates, converters,
// header converters.
func (h *Herder) Plugins() []PluginInfo {
	p := h.rt.plugins
	list := infos(nil, "sink", p.Sinks)
	list = infos(list, "source", p.Sources)
	list = infos(list, "transformation", p.Transforms)
	list = infos(list, "predicate", p.Predicates)
	list = infos(list, "converter", p.Converters)
	return infos(list, "header_converter", p.HeaderConverters)
}

func infos[T any](list []PluginInfo, kind string, plugins []connect.Plugin[T]) []PluginInfo {
	for _, p := range plugins {
		list = append(list, PluginInfo{Class: p.Class, Type: kind, Version: p.Version})
	}
	return list
}

// PluginConfig returns the settings of a plugin, for connectors followed by those
// of the worker's own that apply to it.
func (h *Herder) PluginConfig(class string) ([]connect.ConfigKey, error) {
	p := h.rt.plugins
	if s, err := connect.FindPlugin(p.Sources, class); err == nil {
		return append(keysOf(s.Config), without(frameworkKeys(true), s.Config)...), nil
	}
	if s, err := connect.FindPlugin(p.Sinks, class); err == nil {
		return append(keysOf(s.Config), without(frameworkKeys(false), s.Config)...), nil
	}
	if t, err := connect.FindPlugin(p.Transforms, class); err == nil {
		return keysOf(t.Config), nil
	}
	if t, err := connect.FindPlugin(p.Predicates, class); err == nil {
		return keysOf(t.Config), nil
	}
	if c, err := connect.FindPlugin(p.Converters, class); err == nil {
		return keysOf(c.Config), nil
	}
	if c, err := connect.FindPlugin(p.HeaderConverters, class); err == nil {
		return keysOf(c.Config), nil
	}
	return nil, &connect.Error{Code: "connector.not_found", Message: "Unknown plugin " + class + "."}
}

func keysOf(def *connect.ConfigDef) []connect.ConfigKey {
	if def == nil {
		return []connect.ConfigKey{}
	}
	return append([]connect.ConfigKey{}, def.Keys()...)
}

// without leaves out the keys a plugin declares itself.
func without(keys []connect.ConfigKey, def *connect.ConfigDef) []connect.ConfigKey {
	var rest []connect.ConfigKey
	for _, k := range keys {
		if def != nil {
			if _, own := def.Key(k.Name); own {
				continue
			}
		}
		rest = append(rest, k)
	}
	return rest
}
