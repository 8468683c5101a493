package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// framework checks the worker's own settings for connectors.
func (v *validator) framework(own *connect.ConfigDef) {
	keys := without(frameworkKeys(v.source), own)
	for _, k := range without(overWorker(), own) {
		if _, given := v.config[k.Name]; given {
			keys = append(keys, k)
		}
	}
	def := connect.NewConfigDef(keys...).OpenTo(func(string) bool { return true })
	v.declare(def.Keys(), def.Validate(v.config), "", "")
	v.unknown(own)
}

// unknown reports settings that are nobody's, with the nearest name there is.
func (v *validator) unknown(own *connect.ConfigDef) {
	all := append(frameworkKeys(v.source), overWorker()...)
	if own == nil {
		return
	}
	theirs := own.Validate(v.config)
	names := []string{}
	for _, k := range append(all, own.Keys()...) {
		names = append(names, k.Name)
	}
	for name := range v.config {
		_, isOwn := own.Key(name)
		ours := slices.ContainsFunc(all, func(k connect.ConfigKey) bool { return k.Name == name })
		if ours || isOwn || belongsElsewhere(name) {
			continue
		}
		// The plugin says whether its table is open to names it does not declare.
		if r := theirs[name]; r == nil || len(r.Errors) == 0 {
			continue
		}
		message := "Unknown configuration " + name
		if near := connect.Nearest(name, names); near != "" {
			message += " → did you mean " + near + "?"
		}
		v.values[name] = &connect.ConfigValue{Name: name, Visible: true, Errors: []string{message}}
		if text, ok := v.config[name]; ok {
			v.values[name].Value = &text
		}
	}
}

// plugin has the connector check its settings, each by itself and all together.
func (v *validator) plugin(ctx context.Context, plugin connect.Connector, own *connect.ConfigDef) {
	if own == nil {
		return
	}
	values := own.Validate(v.config)
	// Names the table does not know were dealt with by unknown.
	maps.DeleteFunc(values, func(name string, _ *connect.ConfigValue) bool {
		_, known := own.Key(name)
		return !known
	})
	// With a reference in the place of a secret the other system would only refuse the login.
	if checks, ok := plugin.(connect.Validator); ok && v.resolving == nil {
		values = v.ask(ctx, checks, v.config, values, "connector.class")
	}
	v.declare(own.Keys(), values, "", "")
}

// ask calls a plugin's own checks, which may speak to another system, within a time of
// theirs. They work on a copy: those that come back late change nothing. place is the
// setting to blame when they do.
func (v *validator) ask(ctx context.Context, checks connect.Validator, config connect.Config, values connect.ConfigValues, place string) connect.ConfigValues {
	limit := v.rt.settings.Duration("validate.timeout.ms")
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	copied := make(connect.ConfigValues, len(values))
	for name, value := range values {
		c := *value
		c.Errors, c.Recommended = slices.Clone(value.Errors), slices.Clone(value.Recommended)
		copied[name] = &c
	}
	err := bounded(ctx, limit, "validating the connector's config", func() error {
		checks.Validate(ctx, config, copied)
		return nil
	})
	if err == nil && ctx.Err() == nil {
		return copied
	}
	if err == nil {
		// It ended because its time was over, and what it found until then counts.
		values, err = copied, ctx.Err()
	}
	if errors.Is(err, context.DeadlineExceeded) || connect.AsError(err).Code == "connector.blocked" {
		err = fmt.Errorf("the other system did not answer within %s → check that it can be reached from this worker", limit)
	}
	values.AddError(place, err.Error())
	return values
}

// converter checks a converter and its settings.
func (v *validator) converter(ctx context.Context, setting string) {
	class, own := converterConfig(v.rt.raw, v.config, setting)
	if class == "" {
		return
	}
	var found located
	var err error
	if setting == "header.converter" {
		var p connect.Plugin[connect.HeaderConverter]
		p, err = connect.FindPlugin(v.rt.plugins.HeaderConverters, class)
		found.config = p.Config
	} else {
		place := setting + "." + versionSetting
		found, err = v.rt.find(convertersNamed, wish{class, own[versionSetting], place}, true)
		if e := connect.AsError(err); e != nil && e.Place == place {
			v.values.AddError(place, fmt.Sprintf("Invalid value %s for configuration %s: %s", own[versionSetting], place, e.Message))
			return
		}
		delete(own, versionSetting)
	}
	if err != nil {
		e := connect.AsError(err)
		v.values.AddError(setting, fmt.Sprintf("Invalid value %s for configuration %s: Class %s could not be found. → %s", class, setting, class, e.Mend))
		return
	}
	// Settings of the worker's converter are the worker's to show.
	if found.config != nil && v.config[setting] != "" {
		v.declare(found.config.Keys(), found.config.Validate(own), setting+".", "")
	}
	if found.converter != nil {
		v.probe(ctx, setting, found, own)
	}
}

// probe lets a converter that can do so try what it depends on, unless its settings
// are at fault already.
func (v *validator) probe(ctx context.Context, setting string, found located, own connect.Config) {
	if found.config != nil && faulty(found.config.Validate(own)) {
		return
	}
	c := found.converter()
	prober, ok := c.(connect.Prober)
	if !ok {
		return
	}
	if o, ok := c.(opener); ok {
		o.Open(ctx, v.rt.log) // Its process ends with the request, whatever becomes of the probe.
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err := guard("probe", func() error {
		if err := c.Configure(own, setting == "key.converter"); err != nil {
			return err
		}
		return errors.Join(prober.Probe(ctx), c.Close())
	})
	if err != nil {
		place := setting
		if e := connect.AsError(err); e.Place != "" {
			place += "." + e.Place
		}
		v.values.AddError(place, err.Error())
	}
}

// probeTimeout is how long a converter may take to try what it depends on.
const probeTimeout = 5 * time.Second

func faulty(values connect.ConfigValues) bool {
	for _, value := range values {
		if len(value.Errors) > 0 {
			return true
		}
	}
	return false
}

// steps checks the transforms and predicates.
func (v *validator) steps(ctx context.Context) {
	for _, list := range []string{"transforms", "predicates", "topic.creation.groups"} {
		names := aliases(v.config, list)
		for i, name := range names {
			if slices.Contains(names[:i], name) {
				v.values.AddError(list, fmt.Sprintf("Invalid value %s for configuration %s: Duplicate alias provided.", v.config[list], list))
			}
		}
	}
	predicates := aliases(v.config, "predicates")
	for _, name := range aliases(v.config, "transforms") {
		prefix := "transforms." + name + "."
		own := under(v.config, prefix)
		v.declareStep(ctx, prefix, "Transforms: "+name, transformsNamed)
		predicate, given := own["predicate"]
		if given && !slices.Contains(predicates, predicate) {
			v.values.AddError(prefix+"predicate", fmt.Sprintf("Invalid value %s for configuration %spredicate: no predicate of this name is declared → add it to predicates", predicate, prefix))
		}
		if _, negate := own["negate"]; negate && !given {
			v.values.AddError(prefix+"negate", fmt.Sprintf("Invalid value %s for configuration %snegate: there is no config '%spredicate' defining a predicate to be negated", own["negate"], prefix, prefix))
		}
	}
	for _, name := range predicates {
		v.declareStep(ctx, "predicates."+name+".", "Predicates: "+name, predicatesNamed)
	}
}

// declareStep declares the settings of one transform or predicate.
func (v *validator) declareStep(ctx context.Context, prefix, group string, of finder) {
	own := under(v.config, prefix)
	p, err := v.rt.find(of, wish{own["type"], own[versionSetting], versionSetting}, own["type"] != "")
	keys := []connect.ConfigKey{{Name: "type", Type: connect.TypeClass, Required: true, Importance: connect.High, Doc: "Class of this step."}}
	if strings.HasPrefix(prefix, "transforms.") {
		keys = append(keys,
			connect.ConfigKey{Name: "predicate", Type: connect.TypeString, Importance: connect.Medium, Doc: "Alias of the predicate that decides whether this transform applies."},
			connect.ConfigKey{Name: "negate", Type: connect.TypeBoolean, Default: "false", Importance: connect.Medium, Doc: "Whether it applies when the predicate does not."})
	}
	if _, given := own[versionSetting]; given {
		keys = append(keys, connect.ConfigKey{Name: versionSetting, Type: connect.TypeString, Optional: true, Importance: connect.Medium, Doc: "Which version of the class, such as [1.2,2.0); the newest when absent."})
	}
	base := connect.NewConfigDef(keys...).OpenTo(func(string) bool { return true })
	values := base.Validate(own)
	if e := connect.AsError(err); e != nil && e.Place == versionSetting {
		values.AddError(versionSetting, fmt.Sprintf("Invalid value %s for configuration %s%s: %s", own[versionSetting], prefix, versionSetting, e.Message))
	} else if e != nil && own["type"] != "" {
		values.AddError("type", fmt.Sprintf("Invalid value %s for configuration %stype: Class %s could not be found. → %s", own["type"], prefix, own["type"], e.Mend))
	}
	v.declare(keys, values, prefix, group)
	if p.config == nil {
		return
	}
	rest := maps.Clone(own)
	for _, k := range keys {
		delete(rest, k.Name)
	}
	values = p.config.Validate(rest)
	if checks, ok := p.step().(connect.Validator); ok && v.resolving == nil {
		values = v.ask(ctx, checks, rest, values, "type")
	}
	v.declare(p.config.Keys(), values, prefix, group)
}
