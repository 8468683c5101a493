package worker

import (
	"fmt"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// connectorPlugin finds the plugin a configuration names.
func connectorPlugin(plugins connect.Plugins, class string) (plugin connect.Connector, source bool, version string, err error) {
	p, err := connect.FindPlugin(plugins.Sources, class)
	if err == nil {
		return p.New(), true, p.Version, nil
	}
	s, sinkErr := connect.FindPlugin(plugins.Sinks, class)
	if sinkErr != nil {
		return nil, false, "", unknownConnector(plugins, class)
	}
	return s.New(), false, s.Version, nil
}

// unknownConnector says what there is instead.
func unknownConnector(plugins connect.Plugins, class string) error {
	var known []string
	for _, p := range plugins.Sinks {
		known = append(known, p.Class)
	}
	for _, p := range plugins.Sources {
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

// taskClass is the name a Java worker would look for.
func taskClass(class string) string { return strings.TrimSuffix(class, "Connector") + "Task" }
