package transforms

import (
	"regexp"

	"github.com/tidemill/tidemill/connect"
)

func topicNameMatchesPredicates() []connect.Plugin[connect.Predicate] {
	return predicate("TopicNameMatches", "True for records whose whole topic name matches a pattern.", connect.NewConfigDef(connect.ConfigKey{
		Name: "pattern", Required: true, Check: connect.CheckText(checkRegex), Importance: connect.Medium, Doc: "A Java regular expression for the whole name.",
	}), func() connect.Predicate { return &topicNameMatches{} })
}

// topicNameMatches remembers the answers: there are few topics.
type topicNameMatches struct {
	pattern *regexp.Regexp
	topic   string
	matches bool
}

// Configure implements connect.Predicate.
func (p *topicNameMatches) Configure(s connect.Settings) (err error) {
	p.pattern, err = compileRegex(s.String("pattern"))
	p.topic, p.matches = "", false
	return err
}

// Test implements connect.Predicate.
func (p *topicNameMatches) Test(r *connect.Record) bool {
	if r.Topic != p.topic {
		p.topic, p.matches = r.Topic, p.pattern.MatchString(r.Topic)
	}
	return p.matches
}
