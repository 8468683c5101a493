package worker

import (
	"maps"
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
