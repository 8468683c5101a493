package worker

import (
	"slices"

	"github.com/tidemill/tidemill/connect"
)

// Plugins returns all plugins: sinks, sources, transforms, predicates, converters,
// header converters.
func (h *Herder) Plugins() []PluginInfo {
	p := h.rt.plugins
	var external connect.Plugins
	if h.rt.external != nil {
		external = h.rt.external(true)
	}
	list := infos(nil, "sink", slices.Concat(p.Sinks, external.Sinks))
	list = infos(list, "source", slices.Concat(p.Sources, external.Sources))
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
// of the worker's own that apply to it. version chooses among several, as
// connector.plugin.version does; empty takes the newest.
func (h *Herder) PluginConfig(class, version string) ([]connect.ConfigKey, error) {
	p := h.rt.plugins
	named := connect.Config{"connector.class": class, "connector.plugin.version": version}
	l, missing := h.rt.locate(named, false)
	if missing == nil {
		return connectorKeys(l), nil
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
	if l, missing = h.rt.locate(named, true); missing == nil {
		return connectorKeys(l), nil
	}
	if connect.AsError(missing).Code != "plugin.unknown" {
		return nil, missing
	}
	return nil, &connect.Error{Code: "connector.not_found", Message: "Unknown plugin " + class + "."}
}

func connectorKeys(l located) []connect.ConfigKey {
	return append(keysOf(l.config), without(frameworkKeys(l.source != nil), l.config)...)
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
