package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// newChain makes the plugins a connector's configuration names, for the life of a task.
// What it made is closed again when something fails.
func newChain(life context.Context, rt *runtime, config connect.Config, f *faults) (*chain, error) {
	c := &chain{faults: f}
	err := c.build(life, rt, config)
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *chain) build(life context.Context, rt *runtime, config connect.Config) error {
	for _, alias := range aliases(config, "transforms") {
		if err := c.addStep(life, rt, config, alias); err != nil {
			return fmt.Errorf("transform %s: %w", alias, err)
		}
	}
	var err error
	if c.key, err = c.newConverter(life, rt, config, "key.converter"); err != nil {
		return err
	}
	if c.value, err = c.newConverter(life, rt, config, "value.converter"); err != nil {
		return err
	}
	class, own := converterConfig(rt.raw, config, "header.converter")
	if class == "" {
		class = "org.apache.kafka.connect.storage.SimpleHeaderConverter"
	}
	p, err := connect.FindPlugin(rt.plugins.HeaderConverters, class)
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

// versionSetting is the setting of a step or converter that chooses among the versions of
// its class.
const versionSetting = "plugin.version"

func (c *chain) addStep(life context.Context, rt *runtime, config connect.Config, alias string) error {
	prefix := "transforms." + alias + "."
	own := under(config, prefix)
	p, err := rt.find(transformsNamed, wish{own["type"], own[versionSetting], prefix + versionSetting}, true)
	if err != nil {
		return err
	}
	s := step{transform: p.transform(), negate: strings.EqualFold(own["negate"], "true"), at: site{stageTransform, p.class}}
	if name := own["predicate"]; name != "" {
		if s.predicate, err = c.newPredicate(life, rt, config, name); err != nil {
			return fmt.Errorf("predicate %s: %w", name, err)
		}
	}
	for _, k := range []string{"type", versionSetting, "predicate", "negate"} {
		delete(own, k)
	}
	settings, err := parseOwn(p.config, own)
	if err == nil {
		c.open(life, s.transform)
		err = s.transform.Configure(settings)
	}
	if err != nil {
		return errors.Join(err, s.closePredicate())
	}
	c.steps = append(c.steps, s)
	return nil
}

func (c *chain) newPredicate(life context.Context, rt *runtime, config connect.Config, name string) (connect.Predicate, error) {
	prefix := "predicates." + name + "."
	own := under(config, prefix)
	p, err := rt.find(predicatesNamed, wish{own["type"], own[versionSetting], prefix + versionSetting}, true)
	if err != nil {
		return nil, err
	}
	delete(own, "type")
	delete(own, versionSetting)
	settings, err := parseOwn(p.config, own)
	if err != nil {
		return nil, err
	}
	predicate := p.predicate()
	c.open(life, predicate)
	return predicate, predicate.Configure(settings)
}

// open tells a plugin that is far of its task.
func (c *chain) open(life context.Context, plugin any) {
	f, ok := plugin.(opener)
	if !ok {
		return
	}
	f.Open(life, c.faults.log)
	if c.ahead == nil {
		c.ahead = &ahead{}
	}
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

func (c *chain) newConverter(life context.Context, rt *runtime, config connect.Config, setting string) (converter, error) {
	class, own := converterConfig(rt.raw, config, setting)
	p, err := rt.find(convertersNamed, wish{class, own[versionSetting], setting + "." + versionSetting}, true)
	if err != nil {
		return converter{}, fmt.Errorf("%s: %w", setting, err)
	}
	delete(own, versionSetting)
	conv := converter{Converter: p.converter(), at: site{stageValue, p.class}}
	isKey := setting == "key.converter"
	if isKey {
		conv.at.stage = stageKey
	}
	c.open(life, conv.Converter)
	conv.far, _ = conv.Converter.(farConverter)
	if err := conv.Configure(own, isKey); err != nil {
		return converter{}, fmt.Errorf("%s %s: %w", setting, class, err)
	}
	return conv, nil
}
