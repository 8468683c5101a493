// Command plugin is a template for a plugin of one's own: a source that counts, in a file
// beside this one, and the main function that makes a program of it. README.md says what
// to do with it.
package main

import (
	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/plugin"
)

func main() {
	plugin.Serve(connect.Plugins{Sources: []connect.Plugin[connect.SourceConnector]{counterPlugin()}})
}
