// Command plugin is a template for plugins of one's own: a source that counts and a transform
// that multiplies, in files beside this one, and the main function that makes a program of
// them. README.md says what to do with it.
package main

import (
	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/plugin"
)

func main() {
	plugin.Serve(connect.Plugins{
		Sources:    []connect.Plugin[connect.SourceConnector]{counterPlugin()},
		Transforms: []connect.Plugin[connect.Transform]{timesPlugin()},
	})
}
