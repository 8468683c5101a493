package file

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// Options are what the worker's owner decides about file sinks.
type Options struct {
	// Dirs are the directories below which files may be written. None means the
	// worker's working directory.
	Dirs []string
	// Stdout is where records go when no file is named; nil for the process's own.
	Stdout io.Writer
}

// The values of the setting format.
const (
	formatValue = "value"
	formatJSON  = "json"
)

// Plugin returns the entry for the list of sinks.
func Plugin(o Options) connect.Plugin[connect.SinkConnector] {
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	return connect.Plugin[connect.SinkConnector]{
		Class:   "org.apache.kafka.connect.file.FileStreamSinkConnector",
		Aliases: []string{"tidemill.FileSink"},
		Doc:     "Writes records to a file or to standard output, a line for each.",
		Config:  configDef(),
		New:     func() connect.SinkConnector { return &connector{options: o} },
	}
}

func configDef() *connect.ConfigDef {
	return connect.NewConfigDef(
		connect.ConfigKey{
			Name: "file", Importance: connect.High, Group: "File", DisplayName: "File",
			Doc: "The file to append to, below a directory the worker allows. Absent or - is standard output.",
		},
		connect.ConfigKey{
			Name: "format", Default: formatValue, Check: connect.OneOf(formatValue, formatJSON),
			Importance: connect.Medium, Group: "File", DisplayName: "Format",
			Doc:       "value writes the record's value alone: text as it is, everything else as JSON. json writes a JSON object with topic, partition, offset, timestamp, key, value and headers.",
			Recommend: func(connect.Settings) []string { return []string{formatValue, formatJSON} },
		},
	)
}

// parse reads the settings. Those of the framework, which were checked elsewhere,
// are passed over.
func parse(config connect.Config) (connect.Settings, error) {
	return configDef().OpenTo(func(string) bool { return true }).Parse(config)
}

type connector struct {
	options Options
	config  connect.Config
}

// Start implements connect.Connector.
func (c *connector) Start(_ context.Context, env connect.ConnectorEnv) error {
	if _, err := parse(env.Config); err != nil {
		return err
	}
	c.config = env.Config
	return nil
}

// TaskConfigs gives every task the same file: lines are appended whole.
func (c *connector) TaskConfigs(_ context.Context, max int) ([]connect.Config, error) {
	configs := make([]connect.Config, max)
	for i := range configs {
		configs[i] = c.config
	}
	return configs, nil
}

// Stop implements connect.Connector.
func (c *connector) Stop(context.Context) error { return nil }

// NewTask implements connect.SinkConnector.
func (c *connector) NewTask() connect.SinkTask { return &task{options: c.options} }

// Validate implements connect.Validator: it tells whether the file may and could be
// written, without creating it.
func (c *connector) Validate(_ context.Context, config connect.Config, values connect.ConfigValues) {
	s, err := parse(config)
	if err != nil {
		return // Each setting's own fault has been reported.
	}
	name := s.String("file")
	if toStdout(name) {
		return
	}
	root, rel, err := c.options.locate(name)
	if err == nil {
		defer root.Close()
		err = writable(root, rel, name)
	}
	if err != nil {
		values.AddError("file", err.Error())
	}
}

func toStdout(name string) bool { return name == "" || name == "-" }

// locate returns the allowed directory that name lies in, and its path below it.
// The caller closes the root.
func (o Options) locate(name string) (*os.Root, string, error) {
	dirs := o.Dirs
	if len(dirs) == 0 {
		dirs = []string{"."}
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, "", openError(name, err)
	}
	for _, dir := range dirs {
		dir, err := filepath.Abs(dir)
		if err != nil {
			continue
		}
		rel, err := filepath.Rel(dir, abs)
		if err != nil || !filepath.IsLocal(rel) || rel == "." {
			continue
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, "", openError(name, err)
		}
		return root, rel, nil
	}
	return nil, "", &connect.Error{
		Code: "file.denied", Class: connect.ClassConfig, Place: name,
		Message: "the worker does not allow files outside " + strings.Join(dirs, ", "),
		Mend:    "choose a file there, or let the worker's owner allow its directory",
	}
}

// writable tells whether the file, or else its directory, is there to be opened.
func writable(root *os.Root, rel, name string) error {
	info, err := root.Stat(rel)
	if errors.Is(err, os.ErrNotExist) {
		_, err = root.Stat(filepath.Dir(rel))
	} else if err == nil && !info.Mode().IsRegular() {
		return notRegular(name)
	}
	if err != nil {
		return openError(name, err)
	}
	return nil
}

// openError says why a file cannot be opened.
func openError(name string, err error) error {
	e := &connect.Error{Code: "file.open", Class: connect.ClassConfig, Place: name, Message: "the file cannot be opened", Cause: err}
	switch {
	case errors.Is(err, os.ErrNotExist):
		e.Mend = "create its directory"
	case errors.Is(err, os.ErrPermission):
		e.Mend = "give the worker's user the right to write there"
	}
	return e
}

func notRegular(name string) error {
	return &connect.Error{
		Code: "file.open", Class: connect.ClassConfig, Place: name,
		Message: "this is no ordinary file", Mend: "name another file; - is standard output",
	}
}
