package worker

import (
	"fmt"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// unknownConnector says what there is instead.
func unknownConnector(plugins connect.Plugins, class string) error {
	var known []string
	for _, p := range oneOfEach(plugins.Sinks) {
		known = append(known, p.Class)
	}
	for _, p := range oneOfEach(plugins.Sources) {
		known = append(known, p.Class)
	}
	e := &connect.Error{
		Code: "plugin.unknown", Class: connect.ClassConfig,
		Message: fmt.Sprintf("Failed to find any class that implements Connector and which name matches %s, available connectors are: %s", class, strings.Join(known, ", ")),
	}
	names := known
	for _, k := range known {
		simple := k[strings.LastIndexByte(k, '.')+1:]
		names = append(names, simple, strings.TrimSuffix(simple, "Connector"))
	}
	if near := connect.Nearest(class, names); near != "" {
		e.Mend = "did you mean " + near + "?"
	}
	return e
}

// taskClass is the name a Java worker would look for. Debezium's tasks are called after the
// whole of their connectors' names, most others after the part before Connector.
func taskClass(class string) string {
	if strings.HasPrefix(class, "io.debezium.") {
		return class + "Task"
	}
	return strings.TrimSuffix(class, "Connector") + "Task"
}
