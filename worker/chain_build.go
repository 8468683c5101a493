package worker

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// newChain makes the plugins a connector's configuration names. What it made is
// closed again when something fails.
func newChain(plugins connect.Plugins, worker, config connect.Config, f *faults) (*chain, error) {
	c := &chain{faults: f}
	err := c.build(plugins, worker, config)
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *chain) build(plugins connect.Plugins, worker, config connect.Config) error {
	for _, alias := range aliases(config, "transforms") {
		s, err := newStep(plugins, config, alias)
		if err != nil {
			return fmt.Errorf("transform %s: %w", alias, err)
		}
		c.steps = append(c.steps, s)
	}
	var err error
	if c.key, err = newConverter(plugins, worker, config, "key.converter"); err != nil {
		return err
	}
	if c.value, err = newConverter(plugins, worker, config, "value.converter"); err != nil {
		return err
	}
	class, own := converterConfig(worker, config, "header.converter")
	if class == "" {
		class = "org.apache.kafka.connect.storage.SimpleHeaderConverter"
	}
	p, err := connect.FindPlugin(plugins.HeaderConverters, class)
	if err != nil {
		return fmt.Errorf("header.converter: %w", err)
	}
	h := p.New()
	if err := h.Configure(own); err != nil {
		return fmt.Errorf("header.converter %s: %w", class, err)
	}
	c.headers, c.header = h, site{stageHeader, p.Class}
	return nil
}

// aliases returns the names in a list setting such as transforms.
func aliases(config connect.Config, setting string) []string {
	var names []string
	for name := range strings.SplitSeq(config[setting], ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// under returns the settings with a prefix, without it.
func under(config connect.Config, prefix string) connect.Config {
	sub := connect.Config{}
	for k, v := range config {
		if rest, ok := strings.CutPrefix(k, prefix); ok && rest != "" {
			sub[rest] = v
		}
	}
	return sub
}

func newStep(plugins connect.Plugins, config connect.Config, alias string) (step, error) {
	own := under(config, "transforms."+alias+".")
	p, err := connect.FindPlugin(plugins.Transforms, own["type"])
	if err != nil {
		return step{}, err
	}
	s := step{transform: p.New(), negate: strings.EqualFold(own["negate"], "true"), at: site{stageTransform, p.Class}}
	if name := own["predicate"]; name != "" {
		if s.predicate, err = newPredicate(plugins, config, name); err != nil {
			return step{}, err
		}
	}
	for _, k := range []string{"type", "predicate", "negate"} {
		delete(own, k)
	}
	settings, err := parseOwn(p.Config, own)
	if err == nil {
		err = s.transform.Configure(settings)
	}
	return s, err
}

func newPredicate(plugins connect.Plugins, config connect.Config, name string) (connect.Predicate, error) {
	own := under(config, "predicates."+name+".")
	p, err := connect.FindPlugin(plugins.Predicates, own["type"])
	if err != nil {
		return nil, fmt.Errorf("predicate %s: %w", name, err)
	}
	delete(own, "type")
	settings, err := parseOwn(p.Config, own)
	if err != nil {
		return nil, fmt.Errorf("predicate %s: %w", name, err)
	}
	predicate := p.New()
	if err := predicate.Configure(settings); err != nil {
		return nil, fmt.Errorf("predicate %s: %w", name, err)
	}
	return predicate, nil
}

func parseOwn(def *connect.ConfigDef, own connect.Config) (connect.Settings, error) {
	if def == nil {
		def = connect.NewConfigDef().OpenTo(func(string) bool { return true })
	}
	return def.Parse(own)
}

// converterConfig returns a converter's class and settings: the connector's own, or
// the worker's with the connector's settings over them.
func converterConfig(worker, config connect.Config, setting string) (string, connect.Config) {
	if class := config[setting]; class != "" {
		return class, under(config, setting+".")
	}
	own := under(worker, setting+".")
	for k, v := range under(config, setting+".") {
		own[k] = v
	}
	return worker[setting], own
}

func newConverter(plugins connect.Plugins, worker, config connect.Config, setting string) (converter, error) {
	class, own := converterConfig(worker, config, setting)
	p, err := connect.FindPlugin(plugins.Converters, class)
	if err != nil {
		return converter{}, fmt.Errorf("%s: %w", setting, err)
	}
	c := p.New()
	isKey := setting == "key.converter"
	if err := c.Configure(own, isKey); err != nil {
		return converter{}, fmt.Errorf("%s %s: %w", setting, class, err)
	}
	at := site{stageValue, p.Class}
	if isKey {
		at.stage = stageKey
	}
	return converter{c, at}, nil
}
