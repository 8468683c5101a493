package main

import (
	"log/slog"
	"os"
	"runtime/debug"
	"strings"

	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/connect"
)

// logger returns where a worker's log goes: lines for people on a terminal, JSON
// elsewhere.
func (a *app) logger() slog.Handler {
	options := &slog.HandlerOptions{Level: slog.LevelInfo}
	if a.verbose {
		options.Level = slog.LevelDebug
	}
	if a.fancy(a.err) {
		return slog.NewTextHandler(a.err, options)
	}
	return slog.NewJSONHandler(a.err, options)
}

// loadSettings reads a worker's settings from its file and the environment.
func loadSettings(file string) (connect.Config, error) {
	loaded, err := config.Load(config.Sources{File: file, Environ: os.Environ(), NotSettings: []string{"TIDEMILL_TEST_", "TIDEMILL_LOGIN_"}})
	if err != nil {
		return nil, err
	}
	return loaded.Config, nil
}

// commit returns the revision the binary was built from, "" when it is not known.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if strings.HasPrefix(s.Key, "vcs.revision") {
			return s.Value
		}
	}
	return ""
}
