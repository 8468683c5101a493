package worker

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// checkPolicyName accepts the override policies, by their short or Java names.
func checkPolicyName(name string) error {
	_, err := overridePolicy(name)
	return err
}

// overridePolicy returns the short name of a policy.
func overridePolicy(name string) (string, error) {
	simple := strings.TrimSuffix(name[strings.LastIndexByte(name, '.')+1:], "ConnectorClientConfigOverridePolicy")
	for _, known := range []string{"All", "Principal", "None", "Allowlist"} {
		if strings.EqualFold(simple, known) {
			return known, nil
		}
	}
	return "", &connect.Error{Code: "config.invalid", Message: "String must be one of: All, Principal, None, Allowlist"}
}

// principalSettings are what the policy Principal lets connectors override.
var principalSettings = []string{"sasl.jaas.config", "sasl.mechanism", "security.protocol"}

// ordinarySettings are what the policy Allowlist lets connectors override unless the worker's
// owner says otherwise: what makes their own clients faster, slower or more patient, and who
// they are. Where clients connect to is not among them: with the worker's own credentials a
// connector could be led to a server that gathers them. Neither are files, addresses and
// classes, by which a connector could read and reach what only the worker may.
var ordinarySettings = []string{
	"acks", "allow.auto.create.topics", "auto.offset.reset", "batch.size", "buffer.memory", "check.crcs", "client.id", "client.rack",
	"compression.gzip.level", "compression.lz4.level", "compression.type", "compression.zstd.level", "connections.max.idle.ms",
	"default.api.timeout.ms", "delivery.timeout.ms", "enable.idempotence", "exclude.internal.topics", "fetch.max.bytes",
	"fetch.max.wait.ms", "fetch.min.bytes", "group.id", "group.instance.id", "heartbeat.interval.ms", "isolation.level", "linger.ms",
	"max.block.ms", "max.in.flight.requests.per.connection", "max.partition.fetch.bytes", "max.poll.interval.ms", "max.poll.records",
	"max.request.size", "metadata.max.age.ms", "partition.assignment.strategy", "request.timeout.ms", "retries",
	"retry.backoff.max.ms", "retry.backoff.ms", "sasl.jaas.config", "sasl.mechanism", "security.protocol", "session.timeout.ms",
	"ssl.key.password", "ssl.keystore.certificate.chain", "ssl.keystore.key", "ssl.keystore.type", "ssl.truststore.certificates",
	"ssl.truststore.type", "transaction.timeout.ms",
}

// overridable returns the policy's name, and what tells whether connectors may override a
// client setting under it.
func overridable(worker connect.Settings) (policy string, may func(setting string) bool) {
	policy, _ = overridePolicy(worker.String("connector.client.config.override.policy"))
	var list []string
	switch policy {
	case "All":
		return policy, func(string) bool { return true }
	case "Principal":
		list = principalSettings
	case "Allowlist":
		list = worker.List("connector.client.config.override.allowlist")
	}
	return policy, func(setting string) bool { return slices.Contains(list, setting) }
}

// overrideMend is what helps against that.
func overrideMend(setting string) string {
	if strings.HasPrefix(setting, "ssl.") && strings.HasSuffix(setting, ".location") {
		return "give certificates as text, by ssl.truststore.certificates and ssl.keystore.certificate.chain, or " + otherMend
	}
	return otherMend
}

const otherMend = "remove it, or have the worker's owner name it in connector.client.config.override.allowlist (or set connector.client.config.override.policy=All, if whoever may create connectors may have the worker's credentials)"

// refusedOverride says that a setting may not be overridden.
func refusedOverride(policy, setting string) string {
	return fmt.Sprintf("The '%s' policy does not allow '%s' to be overridden in the connector configuration.", policy, setting)
}

// checkOverrides fails when a connector overrides what it may not. Configurations reach a
// worker also past its REST interface: through the config topic, and from a time when
// another policy held.
func (rt *runtime) checkOverrides(config connect.Config) error {
	policy, may := overridable(rt.settings)
	var faults connect.Errors
	for _, name := range slices.Sorted(maps.Keys(overrides(config))) {
		_, setting, _ := strings.Cut(name, ".override.")
		if !may(setting) {
			faults = append(faults, &connect.Error{
				Code: "config.override", Class: connect.ClassConfig, Place: name, Message: refusedOverride(policy, setting),
				Mend: overrideMend(setting),
			})
		}
	}
	if len(faults) == 1 {
		return faults[0]
	}
	return faults.OrNil()
}

// overrides returns a connector's client settings by their full names.
func overrides(config connect.Config) connect.Config {
	found := maps.Clone(config)
	maps.DeleteFunc(found, func(name, _ string) bool {
		for _, kind := range []clientKind{producerClient, consumerClient, adminClient} {
			if strings.HasPrefix(name, string(kind)+".override.") {
				return false
			}
		}
		return true
	})
	return found
}
