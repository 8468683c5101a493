package plugin

import (
	"fmt"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/plugin/internal/line"
)

// describe says what there is, and what of it cannot be served.
func describe(plugins connect.Plugins) line.Description {
	d := line.Description{Classes: []line.Class{}}
	for _, p := range plugins.Sources {
		task := p.New().NewTask()
		if _, wants := task.(connect.RecordCommitter); wants {
			d.Refused = append(d.Refused, p.Class+": its tasks want to be told of each record that was written (connect.RecordCommitter), which works in the worker's own process only")
			continue
		}
		c := classOf(line.Source, p)
		_, c.Commits = task.(connect.Committer)
		d.Classes = append(d.Classes, c)
	}
	for _, p := range plugins.Sinks {
		task := p.New().NewTask()
		c := classOf(line.Sink, p)
		_, c.Answers = task.(connect.PreCommitter)
		_, c.Opens = task.(connect.PartitionOpener)
		d.Classes = append(d.Classes, c)
	}
	for _, p := range plugins.Transforms {
		d.Classes = append(d.Classes, classOf(line.Transform, p))
	}
	for _, p := range plugins.Predicates {
		d.Classes = append(d.Classes, classOf(line.Predicate, p))
	}
	for _, p := range plugins.Converters {
		c := classOf(line.Converter, p)
		_, c.Probes = p.New().(connect.Prober)
		d.Classes = append(d.Classes, c)
	}
	d.Refused = append(d.Refused, refused("header converter", plugins.HeaderConverters)...)
	return d
}

func refused[T any](kind string, list []connect.Plugin[T]) (reasons []string) {
	for _, p := range list {
		reasons = append(reasons, fmt.Sprintf("%s: a %s works in the worker's own process only", p.Class, kind))
	}
	return reasons
}

func classOf[T any](role line.Role, p connect.Plugin[T]) line.Class {
	c := line.Class{Role: role, Class: p.Class, Aliases: p.Aliases, Version: p.Version, Doc: p.Doc}
	if p.Config == nil {
		return c
	}
	c.Settings, c.Open = []line.Setting{}, p.Config.Open()
	for _, k := range p.Config.Keys() {
		c.Settings = append(c.Settings, line.Setting{
			Name: k.Name, Type: k.Type, Default: k.Default, Optional: k.Optional, Required: k.Required, Importance: k.Importance, Doc: k.Doc,
			Group: k.Group, DisplayName: k.DisplayName, Dependents: k.Dependents, Aliases: k.Aliases,
		})
	}
	return c
}

// target is what a [line.Target] means.
type target struct {
	source    connect.SourceConnector
	sink      connect.SinkConnector
	transform connect.Transform
	predicate connect.Predicate
	converter connect.Converter
	class     string
	config    *connect.ConfigDef
}

// connector returns the connector, of either kind.
func (t target) connector() connect.Connector {
	if t.source != nil {
		return t.source
	}
	return t.sink
}

// validator is what a target has to say of settings, nil for nothing.
func (t target) validator() connect.Validator {
	for _, made := range []any{t.source, t.sink, t.transform, t.predicate, t.converter} {
		if v, can := made.(connect.Validator); can {
			return v
		}
	}
	return nil
}

// find makes what a target names.
func find(plugins connect.Plugins, t line.Target) (target, error) {
	made, found := target{class: t.Class}, false
	switch t.Role {
	case line.Source:
		made.source, made.config, found = pick(plugins.Sources, t)
	case line.Sink:
		made.sink, made.config, found = pick(plugins.Sinks, t)
	case line.Transform:
		made.transform, made.config, found = pick(plugins.Transforms, t)
	case line.Predicate:
		made.predicate, made.config, found = pick(plugins.Predicates, t)
	case line.Converter:
		made.converter, made.config, found = pick(plugins.Converters, t)
	}
	if found {
		return made, nil
	}
	return target{}, &connect.Error{
		Code: "plugin.changed", Class: connect.ClassRetriable, Place: t.Class, Message: "the file does not hold version " + t.Version + " of this class any more",
		Mend: "GET /connector-plugins looks at plugin.path again",
	}
}

func pick[T any](list []connect.Plugin[T], t line.Target) (made T, config *connect.ConfigDef, found bool) {
	for _, p := range list {
		if p.Class == t.Class && p.Version == t.Version {
			return p.New(), p.Config, true
		}
	}
	return made, nil, false
}
