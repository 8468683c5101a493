package worker

import "github.com/tidemill/tidemill/connect"

// Plugins returns all plugins: sinks, sources, transforms, predicates, converters,
// header converters.
func (h *Herder) Plugins() []PluginInfo {
	own := h.rt.plugins
	all := together(own, h.rt.others(true))
	list := infos(nil, "sink", all.Sinks)
	list = infos(list, "source", all.Sources)
	list = infos(list, "transformation", all.Transforms)
	list = infos(list, "predicate", all.Predicates)
	list = infos(list, "converter", all.Converters)
	return infos(list, "header_converter", own.HeaderConverters)
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
	keys, err := h.keysOfNamed(wish{class, version, "version"})
	if err == nil {
		return keys, nil
	}
	if c, err := connect.FindPlugin(h.rt.plugins.HeaderConverters, class); err == nil {
		return keysOf(c.Config), nil
	}
	h.rt.others(true)
	if keys, err = h.keysOfNamed(wish{class, version, "version"}); err == nil || connect.AsError(err).Code != "plugin.unknown" {
		return keys, err
	}
	return nil, &connect.Error{Code: "connector.not_found", Message: "Unknown plugin " + class + "."}
}

// keysOfNamed returns the settings of a plugin that may be external, among those known. The
// error is that of the first kind in which the class is known.
func (h *Herder) keysOfNamed(w wish) ([]connect.ConfigKey, error) {
	var missing error
	for _, of := range []finder{connectorsNamed, transformsNamed, predicatesNamed, convertersNamed} {
		l, err := h.rt.find(of, w, false)
		switch {
		case err == nil && (l.source != nil || l.sink != nil):
			return append(keysOf(l.config), without(frameworkKeys(l.source != nil), l.config)...), nil
		case err == nil:
			return keysOf(l.config), nil
		case missing == nil || connect.AsError(missing).Code == "plugin.unknown":
			missing = err
		}
	}
	return nil, missing
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
