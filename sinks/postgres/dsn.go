package postgres

import (
	"errors"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemill/tidemill/connect"
)

// checkURL tells whether text is a URL that can be used. What it says does not
// repeat the text, which may hold a password.
func checkURL(text string) error {
	_, err := parseURL(text)
	return err
}

// parseURL reads both forms of a URL into one that pgconn understands.
func parseURL(text string) (*url.URL, error) {
	form, isJDBC := strings.CutPrefix(text, "jdbc:")
	u, err := url.Parse(form)
	if err != nil || u.Opaque != "" {
		return nil, errors.New("expected postgres://host:port/database or jdbc:postgresql://host:port/database")
	}
	if u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, errors.New("only PostgreSQL is understood: expected postgres:// or jdbc:postgresql://")
	}
	if u.Host == "" {
		return nil, errors.New("the URL names no host")
	}
	q := u.Query()
	if isJDBC {
		if q, err = fromJDBC(q); err != nil {
			return nil, err
		}
	}
	// Whoever writes a configuration must not make the worker read its own files or
	// speak to sockets by name.
	for _, name := range []string{"host", "hostaddr", "service", "servicefile", "passfile", "sslkey", "sslcert", "sslpassword", "krbsrvname", "krbspn"} {
		if q.Has(name) {
			return nil, errors.New("the parameter " + name + " is not allowed in the URL")
		}
	}
	u.RawQuery = q.Encode()
	return u, nil
}

// fromJDBC translates the parameters of pgjdbc. Those that tune the driver are
// dropped; the rest must be known, since one that is not may matter.
func fromJDBC(q url.Values) (url.Values, error) {
	out := url.Values{}
	for name := range q {
		value := q.Get(name)
		switch name {
		case "user", "password", "sslmode", "sslrootcert", "options":
			out.Set(name, value)
		case "ssl":
			if value != "false" && !q.Has("sslmode") {
				out.Set("sslmode", "verify-full")
			}
		case "currentSchema":
			out.Set("search_path", value)
		case "ApplicationName":
			out.Set("application_name", value)
		case "connectTimeout", "loginTimeout":
			out.Set("connect_timeout", value)
		case "targetServerType":
			if value == "primary" || value == "master" {
				out.Set("target_session_attrs", "read-write")
			}
		default:
			if !slices.Contains([]string{
				"reWriteBatchedInserts", "stringtype", "prepareThreshold", "tcpKeepAlive", "socketTimeout", "binaryTransfer", "defaultRowFetchSize",
				"preparedStatementCacheQueries", "preparedStatementCacheSizeMiB", "autosave", "cleanupSavepoints", "loadBalanceHosts", "cancelSignalTimeout", "logUnclosedConnections",
			}, name) {
				return nil, errors.New("the parameter " + name + " of the JDBC URL is not understood")
			}
		}
	}
	return out, nil
}

// connConfig returns how to connect. Values are written and read in one way,
// whatever the server's or the user's settings are.
func connConfig(s connect.Settings, name string) (*pgconn.Config, error) {
	u, err := parseURL(s.String(keyURL))
	if err != nil {
		return nil, connect.ConfigError(keyURL, "%s", err)
	}
	q := u.Query()
	q.Set("passfile", os.DevNull)
	u.RawQuery = q.Encode()
	c, err := pgconn.ParseConfig(u.String())
	if err != nil {
		return nil, connect.ConfigError(keyURL, "the URL cannot be used: its port, sslmode or another parameter is wrong")
	}
	if user := s.String(keyUser); user != "" {
		c.User = user
	}
	if password := s.String(keyPassword); password != "" {
		c.Password = password
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 10 * time.Second
	}
	for setting, value := range map[string]string{
		"client_encoding": "UTF8", "TimeZone": "UTC", "DateStyle": "ISO, YMD", "IntervalStyle": "postgres", "extra_float_digits": "3",
		"standard_conforming_strings": "on",
	} {
		c.RuntimeParams[setting] = value
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "tidemill " + name
	}
	return c, nil
}
