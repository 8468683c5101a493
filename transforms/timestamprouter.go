package transforms

import (
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/javatime"
)

func timestampRouterPlugins() []connect.Plugin[connect.Transform] {
	return one(kafka+"TimestampRouter", "Puts the record's time into its topic's name.", connect.NewConfigDef(
		connect.ConfigKey{Name: "topic.format", Default: "${topic}-${timestamp}", Importance: connect.High, Doc: "The new name; ${topic} and ${timestamp} are filled in."},
		connect.ConfigKey{Name: "timestamp.format", Default: "yyyyMMdd", Check: connect.CheckText(checkDatePattern), Importance: connect.High, Doc: "The pattern of the time, as java.text.SimpleDateFormat reads it."},
	), func() connect.Transform { return &timestampRouter{} })
}

func checkDatePattern(text string) error {
	_, err := javatime.Compile(javatime.SimpleDateFormat, text)
	return err
}

type timestampRouter struct {
	base
	format  string
	pattern *javatime.Pattern
}

// Configure implements connect.Transform.
func (t *timestampRouter) Configure(s connect.Settings) (err error) {
	t.format = s.String("topic.format")
	t.pattern, err = javatime.Compile(javatime.SimpleDateFormat, s.String("timestamp.format"))
	return err
}

// Apply implements connect.Transform.
func (t *timestampRouter) Apply(r *connect.Record) (bool, error) {
	if r.Timestamp == connect.NoTimestamp {
		return false, bad("timestamp_router", "Timestamp missing on record")
	}
	at := string(t.pattern.AppendFormat(nil, time.UnixMilli(r.Timestamp).UTC()))
	name := strings.ReplaceAll(t.format, "${topic}", r.Topic)
	r.Topic = strings.ReplaceAll(name, "${timestamp}", at)
	return true, nil
}
