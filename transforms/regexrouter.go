package transforms

import (
	"regexp"

	"github.com/tidemill/tidemill/connect"
)

func regexRouterPlugins() []connect.Plugin[connect.Transform] {
	return one(kafka+"RegexRouter", "Renames topics by a pattern and a replacement.", connect.NewConfigDef(
		connect.ConfigKey{Name: "regex", Required: true, Check: connect.CheckText(checkRegex), Importance: connect.High, Doc: "A Java regular expression for the whole topic name."},
		connect.ConfigKey{Name: "replacement", Required: true, Importance: connect.High, Doc: "The new name; $1 or ${name} stands for a group."},
	), func() connect.Transform { return &regexRouter{} })
}

// regexRouter remembers the last topic: a task reads few.
type regexRouter struct {
	base
	regex       *regexp.Regexp
	replacement replacement
	topic, to   string
}

// Configure implements connect.Transform.
func (t *regexRouter) Configure(s connect.Settings) (err error) {
	if t.regex, err = compileRegex(s.String("regex")); err != nil {
		return wrongSetting("regex", "%s", err)
	}
	if t.replacement, err = parseReplacement(s.String("replacement"), t.regex); err != nil {
		return wrongSetting("replacement", "%s", err)
	}
	t.topic, t.to = "", ""
	return nil
}

// Apply implements connect.Transform.
func (t *regexRouter) Apply(r *connect.Record) (bool, error) {
	if r.Topic != t.topic {
		t.topic = r.Topic
		t.to, _ = t.replacement.replace(t.regex, r.Topic)
	}
	r.Topic = t.to
	return true, nil
}
