package transforms

import (
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
)

func timestampRouterPlugins() []connect.Plugin[connect.Transform] {
	return one(kafka+"TimestampRouter", "Puts the record's time into its topic's name.", connect.NewConfigDef(
		connect.ConfigKey{Name: "topic.format", Default: "${topic}-${timestamp}", Importance: connect.High, Doc: "The new name; ${topic} and ${timestamp} are filled in."},
		connect.ConfigKey{Name: "timestamp.format", Default: "yyyyMMdd", Check: connect.CheckText(checkDatePattern), Importance: connect.High, Doc: "The pattern of the time, as java.text.SimpleDateFormat reads it."},
	), func() connect.Transform { return &timestampRouter{} })
}

type timestampRouter struct {
	base
	format  string
	pattern datePattern
}

// Configure implements connect.Transform.
func (t *timestampRouter) Configure(s connect.Settings) (err error) {
	t.format = s.String("topic.format")
	t.pattern, err = parseDatePattern(s.String("timestamp.format"))
	return err
}

// Apply implements connect.Transform.
func (t *timestampRouter) Apply(r *connect.Record) (bool, error) {
	if r.Timestamp == connect.NoTimestamp {
		return false, bad("timestamp_router", "Timestamp missing on record")
	}
	at := string(t.pattern.append(nil, time.UnixMilli(r.Timestamp).UTC()))
	name := strings.ReplaceAll(t.format, "${topic}", r.Topic)
	r.Topic = strings.ReplaceAll(name, "${timestamp}", at)
	return true, nil
}
