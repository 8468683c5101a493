package worker

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// overrides checks the client settings the connector overrides, and whether it may.
func (v *validator) overrides() {
	policy, may := overridable(v.rt.settings)
	given := overrides(v.config)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		_, setting, _ := strings.Cut(name, ".override.")
		value := given[name]
		c := &connect.ConfigValue{Name: name, Value: &value, Visible: true}
		if isSecret(setting) {
			hidden := "[hidden]"
			c.Value = &hidden
		}
		if !may(setting) {
			c.Errors = []string{refusedOverride(policy, setting) + " → " + overrideMend(setting)}
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
