package plugin

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/plugin/internal/line"
)

// Serve is all that a plugin's main function does. It serves the worker that has started
// the process, until that worker lets go of it or dies. Started by a person, it says what
// the file holds and what to do with it. It ends the process.
func Serve(plugins connect.Plugins) {
	handshake := line.Handshake()
	if os.Getenv(handshake.MagicCookieKey) != handshake.MagicCookieValue {
		os.Exit(introduce(os.Stdout, plugins))
	}
	served := &process{plugins: plugins}
	served.lonely = time.AfterFunc(alone, func() { os.Exit(1) })
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: handshake,
		Plugins:         goplugin.PluginSet{line.Name: &line.ServerEnd{Talker: served}},
		GRPCServer: func(options []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(options, line.ServerOptions()...)...)
		},
		Logger: hclog.NewNullLogger(),
	})
	os.Exit(0)
}

// alone is how long a process waits for its worker before it takes it for dead.
const alone = 2 * time.Minute

// process is a plugin's process: it lives as long as the worker speaks to it.
type process struct {
	plugins connect.Plugins
	lonely  *time.Timer
	once    sync.Once
}

// Talk implements the service. The first stream to end ends the process: either the
// worker is done with it, or the worker is gone.
func (p *process) Talk(stream line.Stream) error {
	p.once.Do(func() { p.lonely.Stop() })
	err := serve(p.plugins, stream)
	os.Exit(0)
	return err
}

// introduce tells a person what the file is.
func introduce(w io.Writer, plugins connect.Plugins) (code int) {
	d := describe(plugins)
	fmt.Fprintln(w, "This program is a plugin of Tidemill and holds:")
	for _, c := range d.Classes {
		version := c.Version
		if version == "" {
			version = "without a version"
		}
		fmt.Fprintf(w, "  %-9s  %s  %s\n", c.Role, c.Class, version)
		if c.Doc != "" {
			fmt.Fprintf(w, "             %s\n", c.Doc)
		}
	}
	for _, refused := range d.Refused {
		fmt.Fprintf(w, "  refused: %s\n", refused)
	}
	fmt.Fprintln(w, "\nCopy it into a directory that the worker's setting plugin.path names. The worker finds it\nwithout a restart: GET /connector-plugins lists it.")
	if len(d.Classes) == 0 {
		return 1
	}
	return 0
}
