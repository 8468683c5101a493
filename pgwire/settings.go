package pgwire

import (
	"fmt"
	"net"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// ConfigDef returns the table of the settings. It is open to others, which belong to the
// worker, but not to unknown ones that begin with pgwire.
func ConfigDef() *connect.ConfigDef {
	return connect.NewConfigDef(
		connect.ConfigKey{Name: "pgwire.listeners", Type: connect.TypeList, Optional: true, Check: connect.CheckText(checkListeners), Importance: connect.High, Group: "SQL",
			Doc: "Where PostgreSQL's clients ask the SQL engine: host:port, separated by commas, such as 127.0.0.1:5433. Without it nowhere."},
		connect.ConfigKey{Name: "pgwire.max.connections", Type: connect.TypeInt, Default: "100", Check: connect.Between(1, 1<<20), Importance: connect.Low, Group: "SQL",
			Doc: "How many of PostgreSQL's clients are connected at a time; those beyond are refused."},
		connect.ConfigKey{Name: "pgwire.max.message.bytes", Type: connect.TypeInt, Default: "1048576", Check: connect.Between(1024, 256<<20), Importance: connect.Low, Group: "SQL",
			Doc: "The largest message of one of PostgreSQL's clients that is read, and therefore the longest statement."},
	).OpenTo(func(name string) bool { return !strings.HasPrefix(name, "pgwire.") })
}

func checkListeners(text string) error {
	for one := range strings.SplitSeq(text, ",") {
		one = strings.TrimSpace(one)
		if host, port, err := net.SplitHostPort(one); one != "" && (err != nil || host == "" || port == "") {
			return fmt.Errorf("%q is not of the form host:port", one)
		}
	}
	return nil
}
