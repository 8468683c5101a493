package worker

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// Validate says everything there is to say of a connector's configuration. class is
// that of the request's path; it must be the one in config. An empty class takes
// that of the configuration. Its error is "worker.timeout" when ctx ends first.
func (h *Herder) Validate(ctx context.Context, class string, config connect.Config) (Validation, error) {
	v := &validator{rt: h.rt, values: connect.ConfigValues{}, groups: []string{}}
	given := config["connector.class"]
	if given == "" {
		return Validation{}, &connect.Error{
			Code: "config.invalid", Class: connect.ClassConfig, Place: "connector.class",
			Message: "Connector config contains no connector type", Mend: "set connector.class to one of GET /connector-plugins",
		}
	}
	if class != "" && !sameClass(class, given) {
		return Validation{}, &connect.Error{
			Code: "request.invalid", Class: connect.ClassConfig,
			Message: "Included connector type " + given + " does not match request type " + class,
		}
	}
	resolved, err := h.rt.resolve(config)
	if err != nil {
		// Checks go on with what was written; the reference itself is a fault.
		resolved = config
		v.resolving = err
	}
	plugin, err := h.rt.locate(config, true)
	if err != nil {
		return Validation{}, err
	}
	defer h.stages.enter("performing multi-property validation for the connector")()
	v.config, v.source = resolved, plugin.source != nil
	v.run(ctx, plugin.make(), plugin.config)
	if ctx.Err() != nil {
		// What was not asked in time says nothing of the configuration.
		return Validation{}, h.timeout()
	}
	return v.result(given, config), nil
}

// sameClass compares a path's class, which may be short, with the configured one.
func sameClass(class, given string) bool {
	trim := func(s string) string { return strings.TrimSuffix(s, "Connector") }
	return strings.HasSuffix(trim(given), trim(class)) || strings.HasSuffix(trim(class), trim(given))
}

// validator gathers what is to be said of a configuration.
type validator struct {
	rt        *runtime
	config    connect.Config
	source    bool
	keys      []connect.ConfigKey
	groups    []string
	values    connect.ConfigValues
	resolving error
	declared  map[string]bool
}

func (v *validator) run(ctx context.Context, plugin connect.Connector, own *connect.ConfigDef) {
	v.framework(own)
	v.plugin(ctx, plugin, own)
	for _, setting := range []string{"key.converter", "value.converter", "header.converter"} {
		v.converter(ctx, setting)
	}
	v.steps(ctx)
	v.overrides()
	v.topics()
	v.exactlyOnce(plugin)
	if _, err := newTopicRules(v.config); err != nil {
		e := connect.AsError(err)
		v.values.AddError(e.Place, e.Message)
	}
	if v.source {
		for name, text := range strayTopicSettings(v.config) {
			v.values.AddError(name, text)
		}
	}
	if v.resolving != nil {
		v.values.AddError(secretSetting(v.resolving, v.config), v.resolving.Error())
	}
}

// secretSetting names the setting whose reference could not be resolved.
func secretSetting(err error, config connect.Config) string {
	if e := connect.AsError(err); e.Place != "" {
		if _, ok := config[e.Place]; ok {
			return e.Place
		}
	}
	for _, k := range slices.Sorted(maps.Keys(config)) {
		if strings.Contains(config[k], "${") {
			return k
		}
	}
	return "name"
}

// declare adds keys and what was found of them, with a prefix.
func (v *validator) declare(keys []connect.ConfigKey, values connect.ConfigValues, prefix, group string) {
	if v.declared == nil {
		v.declared = map[string]bool{}
	}
	for _, k := range keys {
		value := values[k.Name]
		k.Name = prefix + k.Name
		if group != "" {
			k.Group = group
		}
		if v.declared[k.Name] {
			continue
		}
		v.declared[k.Name] = true
		v.keys = append(v.keys, k)
		if k.Group != "" && !slices.Contains(v.groups, k.Group) {
			v.groups = append(v.groups, k.Group)
		}
		if value == nil {
			continue
		}
		c := *value
		c.Name = k.Name
		v.merge(&c)
	}
	// Errors may be about settings that are declared elsewhere, or nowhere.
	for name, value := range values {
		if slices.ContainsFunc(keys, func(k connect.ConfigKey) bool { return k.Name == name }) || len(value.Errors)+len(value.Warnings) == 0 {
			continue
		}
		if v.values[prefix+name] == nil {
			v.values[prefix+name] = &connect.ConfigValue{Name: prefix + name, Value: value.Value, Visible: true}
		}
		for _, e := range value.Errors {
			v.values.AddError(prefix+name, e)
		}
		for _, w := range value.Warnings {
			v.values.AddWarning(prefix+name, w)
		}
	}
}

// merge keeps errors that were found before.
func (v *validator) merge(c *connect.ConfigValue) {
	if old := v.values[c.Name]; old != nil {
		for _, e := range old.Errors {
			if !slices.Contains(c.Errors, e) {
				c.Errors = append(c.Errors, e)
			}
		}
		c.Warnings = append(c.Warnings, old.Warnings...)
		if c.Findings == nil {
			c.Findings = old.Findings
		}
	}
	v.values[c.Name] = c
}

// result puts everything in order: declared settings first, then those nobody
// declares. Values are shown as they were written, so that no secret is.
func (v *validator) result(class string, written connect.Config) Validation {
	r := Validation{Name: class, Groups: v.groups, Configs: []ValidatedConfig{}}
	for _, k := range v.keys {
		value := v.values[k.Name]
		if value == nil {
			value = &connect.ConfigValue{Name: k.Name, Visible: true}
		}
		delete(v.values, k.Name)
		value.Value = shown(k, value.Value, written)
		r.Configs = append(r.Configs, ValidatedConfig{Key: &k, Value: *value})
		r.ErrorCount += len(value.Errors)
	}
	for _, name := range slices.Sorted(maps.Keys(v.values)) {
		value := v.values[name]
		r.Configs = append(r.Configs, ValidatedConfig{Value: *value})
		r.ErrorCount += len(value.Errors)
	}
	return r
}

func shown(k connect.ConfigKey, value *string, written connect.Config) *string {
	if value == nil {
		return nil
	}
	if k.Type == connect.TypePassword {
		hidden := "[hidden]"
		return &hidden
	}
	if text, ok := written[k.Name]; ok && strings.Contains(text, "${") {
		return &text
	}
	return value
}
