package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// Validate says everything there is to say of a connector's configuration. class is
// that of the request's path; it must be the one in config. An empty class takes
// that of the configuration.
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
	plugin, source, _, err := connectorPlugin(h.rt.plugins, given)
	if err != nil {
		e := connect.AsError(err)
		e.Code = "config.invalid"
		return Validation{}, e
	}
	defer h.stages.enter("performing multi-property validation for the connector")()
	v.config, v.source = resolved, source
	v.run(ctx, plugin, given)
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

func (v *validator) run(ctx context.Context, plugin connect.Connector, class string) {
	var own *connect.ConfigDef
	if v.source {
		p, _ := connect.FindPlugin(v.rt.plugins.Sources, class)
		own = p.Config
	} else {
		p, _ := connect.FindPlugin(v.rt.plugins.Sinks, class)
		own = p.Config
	}
	v.framework(own)
	v.plugin(ctx, plugin, own)
	for _, setting := range []string{"key.converter", "value.converter", "header.converter"} {
		v.converter(setting)
	}
	v.steps()
	v.overrides()
	v.topics()
	v.exactlyOnce(plugin)
	if _, err := newTopicRules(v.config); err != nil {
		e := connect.AsError(err)
		v.values.AddError(e.Place, e.Message)
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
	for name, value := range values {
		if !v.declared[prefix+name] && len(value.Errors) > 0 {
			c := *value
			c.Name = prefix + name
			v.merge(&c)
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
	}
	v.values[c.Name] = c
}

// framework checks the worker's own settings for connectors.
func (v *validator) framework(own *connect.ConfigDef) {
	keys := without(frameworkKeys(v.source), own)
	for _, k := range without(restartKeys(), own) {
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
	all := append(frameworkKeys(v.source), restartKeys()...)
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
	if checks, ok := plugin.(connect.Validator); ok {
		values = v.ask(ctx, checks, values)
	}
	v.declare(own.Keys(), values, "", "")
}

// ask calls the connector's own checks, which may speak to its other system, within
// a time of theirs. They work on a copy: those that come back late change nothing.
func (v *validator) ask(ctx context.Context, checks connect.Validator, values connect.ConfigValues) connect.ConfigValues {
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
		checks.Validate(ctx, v.config, copied)
		return nil
	})
	if err == nil {
		return copied
	}
	if errors.Is(err, context.DeadlineExceeded) || connect.AsError(err).Code == "connector.blocked" {
		err = fmt.Errorf("the other system did not answer within %s → check that it can be reached from this worker", limit)
	}
	values.AddError("connector.class", err.Error())
	return values
}

// converter checks a converter and its settings.
func (v *validator) converter(setting string) {
	class, own := converterConfig(v.rt.raw, v.config, setting)
	if class == "" {
		return
	}
	var def *connect.ConfigDef
	var err error
	if setting == "header.converter" {
		var p connect.Plugin[connect.HeaderConverter]
		p, err = connect.FindPlugin(v.rt.plugins.HeaderConverters, class)
		def = p.Config
	} else {
		var p connect.Plugin[connect.Converter]
		p, err = connect.FindPlugin(v.rt.plugins.Converters, class)
		def = p.Config
	}
	if err != nil {
		e := connect.AsError(err)
		v.values.AddError(setting, fmt.Sprintf("Invalid value %s for configuration %s: Class %s could not be found. → %s", class, setting, class, e.Mend))
		return
	}
	// Settings of the worker's converter are the worker's to show.
	if def != nil && v.config[setting] != "" {
		v.declare(def.Keys(), def.Validate(own), setting+".", "")
	}
}

// steps checks the transforms and predicates.
func (v *validator) steps() {
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
		p, err := connect.FindPlugin(v.rt.plugins.Transforms, own["type"])
		v.declareStep(prefix, "Transforms: "+name, p.Config, own, err)
		predicate, given := own["predicate"]
		if given && !slices.Contains(predicates, predicate) {
			v.values.AddError(prefix+"predicate", fmt.Sprintf("Invalid value %s for configuration %spredicate: no predicate of this name is declared → add it to predicates", predicate, prefix))
		}
		if _, negate := own["negate"]; negate && !given {
			v.values.AddError(prefix+"negate", fmt.Sprintf("Invalid value %s for configuration %snegate: there is no config '%spredicate' defining a predicate to be negated", own["negate"], prefix, prefix))
		}
	}
	for _, name := range predicates {
		prefix := "predicates." + name + "."
		own := under(v.config, prefix)
		p, err := connect.FindPlugin(v.rt.plugins.Predicates, own["type"])
		v.declareStep(prefix, "Predicates: "+name, p.Config, own, err)
	}
}

// declareStep declares the settings of one transform or predicate.
func (v *validator) declareStep(prefix, group string, def *connect.ConfigDef, own connect.Config, err error) {
	keys := []connect.ConfigKey{{Name: "type", Type: connect.TypeClass, Required: true, Importance: connect.High, Doc: "Class of this step."}}
	if strings.HasPrefix(prefix, "transforms.") {
		keys = append(keys,
			connect.ConfigKey{Name: "predicate", Type: connect.TypeString, Importance: connect.Medium, Doc: "Alias of the predicate that decides whether this transform applies."},
			connect.ConfigKey{Name: "negate", Type: connect.TypeBoolean, Default: "false", Importance: connect.Medium, Doc: "Whether it applies when the predicate does not."})
	}
	base := connect.NewConfigDef(keys...).OpenTo(func(string) bool { return true })
	values := base.Validate(own)
	if err != nil && own["type"] != "" {
		e := connect.AsError(err)
		values.AddError("type", fmt.Sprintf("Invalid value %s for configuration %stype: Class %s could not be found. → %s", own["type"], prefix, own["type"], e.Mend))
	}
	v.declare(keys, values, prefix, group)
	if def == nil {
		return
	}
	rest := maps.Clone(own)
	for _, k := range keys {
		delete(rest, k.Name)
	}
	v.declare(def.Keys(), def.Validate(rest), prefix, group)
}

// overrides checks the client settings the connector overrides, and whether it may.
func (v *validator) overrides() {
	policy, _ := overridePolicy(v.rt.settings.String("connector.client.config.override.policy"))
	given := overrides(v.config)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		_, setting, _ := strings.Cut(name, ".override.")
		allowed := policy == "All" ||
			policy == "Principal" && slices.Contains(principalSettings, setting) ||
			policy == "Allowlist" && slices.Contains(v.rt.settings.List("connector.client.config.override.allowlist"), setting)
		value := given[name]
		c := &connect.ConfigValue{Name: name, Value: &value, Visible: true}
		if isSecret(setting) {
			hidden := "[hidden]"
			c.Value = &hidden
		}
		if !allowed {
			c.Errors = []string{fmt.Sprintf("The '%s' policy does not allow '%s' to be overridden in the connector configuration.", policy, setting)}
		}
		v.merge(c)
	}
	for kind, prefix := range map[clientKind]string{producerClient: "producer.override.", consumerClient: "consumer.override."} {
		_, err := clientOptions(clientProps(v.rt.raw, kind, v.config), kind)
		if list, ok := errors.AsType[connect.Errors](err); ok {
			for _, e := range list {
				if _, own := given[prefix+e.Place]; own {
					v.values.AddError(prefix+e.Place, e.Message)
				}
			}
		}
	}
}

// isSecret tells whether a client's setting must not be shown.
func isSecret(setting string) bool {
	return strings.Contains(setting, "password") || strings.Contains(setting, "jaas") || strings.HasSuffix(setting, ".key")
}

// topics checks what a sink reads, and where its dead letters go.
func (v *validator) topics() {
	if v.source {
		return
	}
	list, pattern := aliases(v.config, "topics"), strings.TrimSpace(v.config["topics.regex"])
	both := func(message string) {
		v.values.AddError("topics", message)
		v.values.AddError("topics.regex", message)
	}
	switch {
	case len(list) == 0 && pattern == "":
		both("Must configure one of topics or topics.regex")
	case len(list) > 0 && pattern != "":
		both("topics and topics.regex are mutually exclusive options, but both are set.")
	}
	letters := strings.TrimSpace(v.config["errors.deadletterqueue.topic.name"])
	if letters != "" {
		if slices.Contains(list, letters) {
			v.values.AddError("topics", fmt.Sprintf("The DLQ topic '%s' may not be included in the list of topics ('topics=%s') consumed by the connector", letters, v.config["topics"]))
		}
		if res, err := patterns(pattern); err == nil && len(res) == 1 && res[0].MatchString(letters) {
			v.values.AddError("topics.regex", fmt.Sprintf("The DLQ topic '%s' may not be included in the regex matching the topics ('topics.regex=%s') consumed by the connector", letters, pattern))
		}
	}
	if group := sinkGroup(v.rt.raw, v.config); v.rt.groupID != "" && group == v.rt.groupID {
		place := "name"
		if _, own := v.config["consumer.override.group.id"]; own {
			place = "consumer.override.group.id"
		}
		v.values.AddError(place, fmt.Sprintf("Consumer group for sink connector named %s conflicts with Connect worker group %s", v.config["name"], v.rt.groupID))
	}
}

// sinkGroup returns the consumer group of a sink connector.
func sinkGroup(raw, config connect.Config) string {
	if group := clientProps(raw, consumerClient, config)["group.id"]; group != "" {
		return group
	}
	return "connect-" + config["name"]
}

// exactlyOnce checks whether the delivery that is asked for can be had.
func (v *validator) exactlyOnce(plugin connect.Connector) {
	if !v.source {
		return
	}
	able, boundaries := false, false
	if x, ok := plugin.(connect.ExactlyOnceSource); ok {
		_ = guard("exactly-once support", func() error {
			able, boundaries = x.ExactlyOnce(v.config), x.DefinesBoundaries(v.config)
			return nil
		})
	}
	if strings.EqualFold(v.config["exactly.once.support"], "required") {
		switch {
		case !v.rt.exactlyOnce:
			v.values.AddError("exactly.once.support", "This worker does not have exactly-once source support enabled. → set exactly.once.source.support=enabled in the worker's properties")
		case !able:
			v.values.AddError("exactly.once.support", "The connector does not support exactly-once delivery guarantees with the provided configuration.")
		}
	}
	if strings.EqualFold(v.config["transaction.boundary"], "connector") && !boundaries {
		v.values.AddError("transaction.boundary", "The connector does not support connector-defined transaction boundaries with the given configuration. Please reconfigure it to use a different transaction boundary definition.")
	}
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
