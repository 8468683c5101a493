package worker

import (
	"errors"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// topicRules are a connector's topic.creation.* settings: the groups in their
// order, and the default at the end.
type topicRules []topicRule

type topicRule struct {
	include, exclude []*regexp.Regexp
	partitions       int32
	replication      int16
	settings         map[string]string
}

// newTopicRules reads the settings. A connector without any gets the brokers'
// defaults for every topic.
func newTopicRules(config connect.Config) (topicRules, error) {
	var rules topicRules
	for _, group := range append(aliases(config, "topic.creation.groups"), "default") {
		own := under(config, "topic.creation."+group+".")
		rule := topicRule{partitions: -1, replication: -1, settings: map[string]string{}}
		for _, k := range slices.Sorted(maps.Keys(own)) {
			if err := rule.set(k, own[k]); err != nil {
				return nil, connect.ConfigError("topic.creation."+group+"."+k, "Invalid value %s: %s", own[k], err)
			}
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

func (r *topicRule) set(name, value string) error {
	var n int64
	var err error
	switch name {
	case "include":
		r.include, err = patterns(value)
	case "exclude":
		r.exclude, err = patterns(value)
	case "partitions":
		n, err = atLeastOne(value, 32)
		r.partitions = int32(n)
	case "replication.factor":
		n, err = atLeastOne(value, 16)
		r.replication = int16(n)
	default:
		r.settings[name] = value
	}
	return err
}

// atLeastOne reads a number of partitions or replicas; -1 takes the brokers' default.
func atLeastOne(text string, bits int) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, bits)
	if err == nil && n < 1 && n != -1 {
		err = errors.New("Value must be at least 1, or -1 for the brokers' default")
	}
	return n, err
}

// strayTopicSettings returns what belongs to no group, by setting: it would have no effect.
func strayTopicSettings(config connect.Config) map[string]string {
	stray := map[string]string{}
	groups := append(aliases(config, "topic.creation.groups"), "default")
	for name := range config {
		rest, ok := strings.CutPrefix(name, "topic.creation.")
		if !ok || rest == "groups" || slices.ContainsFunc(groups, func(g string) bool { return strings.HasPrefix(rest, g+".") }) {
			continue
		}
		group, _, _ := strings.Cut(rest, ".")
		stray[name] = "Unknown configuration " + name + ": topic.creation.groups does not name the group " + group
		if near := connect.Nearest(group, groups); near != "" {
			stray[name] += " → did you mean " + near + "?"
		}
	}
	for _, group := range groups[:len(groups)-1] {
		if name := "topic.creation." + group + ".include"; strings.TrimSpace(config[name]) == "" {
			stray[name] = "Missing required configuration \"" + name + "\" which has no default value: the group " + group + " includes no topic"
		}
	}
	return stray
}

// patterns compiles a list of regular expressions that match whole names.
func patterns(list string) ([]*regexp.Regexp, error) {
	var compiled []*regexp.Regexp
	for text := range strings.SplitSeq(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		re, err := regexp.Compile("^(?:" + text + ")$")
		if err != nil {
			return nil, err
		}
		compiled = append(compiled, re)
	}
	return compiled, nil
}

// rule returns the first group that includes the topic and does not exclude it.
func (rules topicRules) rule(topic string) topicRule {
	matches := func(list []*regexp.Regexp) bool {
		return slices.ContainsFunc(list, func(re *regexp.Regexp) bool { return re.MatchString(topic) })
	}
	for _, r := range rules[:len(rules)-1] {
		if matches(r.include) && !matches(r.exclude) {
			return r
		}
	}
	return rules[len(rules)-1]
}
