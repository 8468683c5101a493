package worker

import (
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// located is the plugin a configuration names. What makes it is set for its kind alone.
type located struct {
	class, version string
	config         *connect.ConfigDef
	source         func() connect.SourceConnector
	sink           func() connect.SinkConnector
	transform      func() connect.Transform
	predicate      func() connect.Predicate
	converter      func() connect.Converter
}

// make returns a connector that has not started.
func (l located) make() connect.Connector {
	if l.source != nil {
		return l.source()
	}
	return l.sink()
}

// step returns a transform or predicate that is not configured.
func (l located) step() any {
	if l.transform != nil {
		return l.transform()
	}
	return l.predicate()
}

// wish is what a configuration asks for: a class and a version, and the setting of the
// latter.
type wish struct{ class, version, place string }

// finder returns all versions of the plugin that a class or alias names, among the plugins
// of one kind, or the error that there is none.
type finder func(plugins connect.Plugins, class string) ([]located, error)

// locate finds the connector that connector.class names.
func (rt *runtime) locate(config connect.Config, look bool) (located, error) {
	return rt.find(connectorsNamed, wish{config["connector.class"], config["connector.plugin.version"], "connector.plugin.version"}, look)
}

// find finds a plugin and, where there are several versions of it, the newest that the
// configuration allows. What is part of the program comes first: an external plugin of the
// same class is taken only when the version asks for it. With look, the external plugins
// are looked at anew before a class or version is said not to be there.
func (rt *runtime) find(of finder, w wish, look bool) (located, error) {
	wanted, err := parseRequirement(w.version)
	if err != nil {
		return located{}, connect.ConfigError(w.place, "%s", err)
	}
	l, err := rt.findAmong(of, w, wanted, false)
	if err != nil && look && rt.external != nil {
		l, err = rt.findAmong(of, w, wanted, true)
	}
	return l, err
}

func (rt *runtime) findAmong(of finder, w wish, wanted requirement, look bool) (located, error) {
	found, err := of(rt.plugins, w.class)
	if err == nil && (len(wanted) == 0 || wanted.allows(found[0].version)) {
		return found[0], nil
	}
	external := rt.others(look)
	// The program's own have no versions to choose from, unless others bring some.
	theirs, _ := of(external, w.class)
	if len(found) > 0 && len(theirs) == 0 && found[0].version == "" {
		return found[0], nil
	}
	found = append(found, theirs...)
	if len(found) == 0 {
		_, err = of(together(rt.plugins, external), w.class)
		return located{}, err
	}
	var best *located
	var versions []string
	for i := range found {
		versions = append(versions, found[i].version)
		if wanted.allows(found[i].version) && (best == nil || compareVersions(found[i].version, best.version) > 0) {
			best = &found[i]
		}
	}
	if best == nil {
		return located{}, &connect.Error{
			Code: "plugin.version", Class: connect.ClassConfig, Place: w.place,
			Message: "of the class " + found[0].class + " there is no version that is asked for, only " + strings.Join(versions, ", "),
			Mend:    "choose one of them, or put the version into a directory of plugin.path",
		}
	}
	return *best, nil
}

// others returns the external plugins.
func (rt *runtime) others(look bool) connect.Plugins {
	if rt.external == nil {
		return connect.Plugins{}
	}
	return rt.external(look)
}

// together are the plugins of both lists that may be external.
func together(a, b connect.Plugins) connect.Plugins {
	return connect.Plugins{
		Sources: slices.Concat(a.Sources, b.Sources), Sinks: slices.Concat(a.Sinks, b.Sinks),
		Transforms: slices.Concat(a.Transforms, b.Transforms), Predicates: slices.Concat(a.Predicates, b.Predicates),
		Converters: slices.Concat(a.Converters, b.Converters),
	}
}

// connectorsNamed is a [finder] of connectors, sources before sinks.
func connectorsNamed(plugins connect.Plugins, class string) ([]located, error) {
	sources, err := versionsOf(plugins.Sources, class, func(l *located, make func() connect.SourceConnector) { l.source = make })
	if err == nil {
		return sources, nil
	}
	sinks, err := versionsOf(plugins.Sinks, class, func(l *located, make func() connect.SinkConnector) { l.sink = make })
	if err != nil {
		return nil, unknownConnector(plugins, class)
	}
	return sinks, nil
}

// transformsNamed is a [finder] of transforms.
func transformsNamed(plugins connect.Plugins, class string) ([]located, error) {
	return versionsOf(plugins.Transforms, class, func(l *located, make func() connect.Transform) { l.transform = make })
}

// predicatesNamed is a [finder] of predicates.
func predicatesNamed(plugins connect.Plugins, class string) ([]located, error) {
	return versionsOf(plugins.Predicates, class, func(l *located, make func() connect.Predicate) { l.predicate = make })
}

// convertersNamed is a [finder] of converters.
func convertersNamed(plugins connect.Plugins, class string) ([]located, error) {
	return versionsOf(plugins.Converters, class, func(l *located, make func() connect.Converter) { l.converter = make })
}

// versionsOf returns the entries of the class that a class or alias names.
func versionsOf[T any](list []connect.Plugin[T], class string, put func(*located, func() T)) (all []located, err error) {
	p, err := connect.FindPlugin(oneOfEach(list), class)
	if err != nil {
		return nil, err
	}
	for _, q := range list {
		if q.Class == p.Class {
			l := located{class: q.Class, version: q.Version, config: q.Config}
			put(&l, q.New)
			all = append(all, l)
		}
	}
	return all, nil
}

// oneOfEach leaves one entry of each class, so that a short name that means one class in
// several versions is not taken for ambiguous.
func oneOfEach[T any](list []connect.Plugin[T]) (each []connect.Plugin[T]) {
	at := map[string]int{}
	for _, p := range list {
		if i, again := at[p.Class]; again {
			each[i].Aliases = append(each[i].Aliases[:len(each[i].Aliases):len(each[i].Aliases)], p.Aliases...)
			continue
		}
		at[p.Class] = len(each)
		each = append(each, p)
	}
	return each
}

// connectorPlugin makes the connector a configuration names.
func connectorPlugin(rt *runtime, config connect.Config) (plugin connect.Connector, source bool, version string, err error) {
	l, err := rt.locate(config, true)
	if err != nil {
		return nil, false, "", err
	}
	err = guard("making the connector", func() error {
		plugin = l.make()
		return nil
	})
	return plugin, l.source != nil, l.version, err
}

// taskGone tells whether an error means that the task is not there any more, so that
// calling it again is of no use: it has to be made anew. External plugins give it when the
// process of a task has ended.
func taskGone(e *connect.Error) bool { return e.Code == "plugin.ended" }
