package worker

import (
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// located is the connector a configuration names, of either kind.
type located struct {
	class, version string
	config         *connect.ConfigDef
	source         func() connect.SourceConnector // Nil for a sink.
	sink           func() connect.SinkConnector
}

// make returns a connector that has not started.
func (l located) make() connect.Connector {
	if l.source != nil {
		return l.source()
	}
	return l.sink()
}

// locate finds the connector that connector.class names and, where there are several
// versions of it, the newest that connector.plugin.version allows. What is part of the
// program comes first: an external plugin of the same class is taken only when the
// version asks for it. With look, the external plugins are looked at anew before a class
// or version is said not to be there.
func (rt *runtime) locate(config connect.Config, look bool) (located, error) {
	wanted, err := parseRequirement(config["connector.plugin.version"])
	if err != nil {
		return located{}, connect.ConfigError("connector.plugin.version", "%s", err)
	}
	class := config["connector.class"]
	l, err := rt.locateAmong(class, wanted, false)
	if err != nil && look && rt.external != nil {
		l, err = rt.locateAmong(class, wanted, true)
	}
	return l, err
}

func (rt *runtime) locateAmong(class string, wanted requirement, look bool) (located, error) {
	found := versionsOf(rt.plugins, class)
	if len(found) > 0 && (len(wanted) == 0 || wanted.allows(found[0].version)) {
		return found[0], nil
	}
	var external connect.Plugins
	if rt.external != nil {
		external = rt.external(look)
	}
	// The program's own have no versions to choose from, unless others bring some.
	theirs := versionsOf(external, class)
	if len(found) > 0 && len(theirs) == 0 && found[0].version == "" {
		return found[0], nil
	}
	found = append(found, theirs...)
	if len(found) == 0 {
		return located{}, unknownConnector(rt.plugins, external, class)
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
			Code: "plugin.version", Class: connect.ClassConfig, Place: "connector.plugin.version",
			Message: "of the class " + found[0].class + " there is no version that is asked for, only " + strings.Join(versions, ", "),
			Mend:    "choose one of them, or put the version into a directory of plugin.path",
		}
	}
	return *best, nil
}

// versionsOf returns all versions of the connector that a class or alias names, sources
// before sinks.
func versionsOf(plugins connect.Plugins, class string) (all []located) {
	if p, err := connect.FindPlugin(oneOfEach(plugins.Sources), class); err == nil {
		for _, q := range plugins.Sources {
			if q.Class == p.Class {
				all = append(all, located{class: q.Class, version: q.Version, config: q.Config, source: q.New})
			}
		}
		return all
	}
	if p, err := connect.FindPlugin(oneOfEach(plugins.Sinks), class); err == nil {
		for _, q := range plugins.Sinks {
			if q.Class == p.Class {
				all = append(all, located{class: q.Class, version: q.Version, config: q.Config, sink: q.New})
			}
		}
	}
	return all
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
