package main

import (
	"log/slog"
	"os"

	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/connect"
)

// auditLog returns where it is written down who changed what: a file of its own when the
// settings name one, else the log. No level that is changed at run time silences it.
func auditLog(settings connect.Settings, redactor *config.Redactor, log slog.Handler) (*slog.Logger, func() error, error) {
	path := settings.String("rest.audit.file")
	if path == "" {
		return slog.New(redactor.Handler(log)).With("logger", "tidemill.audit"), func() error { return nil }, nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		e := connect.ConfigError("rest.audit.file", "the audit log cannot be written")
		e.Cause, e.Mend = err, "name a file in a folder that the worker may write to"
		return nil, nil, e
	}
	return slog.New(redactor.Handler(slog.NewJSONHandler(f, nil))), f.Close, nil
}
