package pgwire

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// serverVersion is that of the PostgreSQL whose clients know what to expect here.
const serverVersion = "15.0"

// reported are the settings that a client is told of, by their names in PostgreSQL.
func reported() []string {
	return []string{"server_version", "server_encoding", "client_encoding", "application_name", "DateStyle", "IntervalStyle", "TimeZone",
		"integer_datetimes", "standard_conforming_strings", "is_superuser", "session_authorization", "default_transaction_read_only", "in_hot_standby"}
}

// defaults are PostgreSQL's settings at the beginning of a session.
func (s *session) defaults(given map[string]string) map[string]string {
	return map[string]string{
		"server_version": serverVersion + " (tidemill " + s.server.o.Version + ")", "server_version_num": "150000",
		"server_encoding": "UTF8", "client_encoding": "UTF8", "application_name": given["application_name"],
		"datestyle": "ISO, MDY", "intervalstyle": "postgres", "timezone": "UTC", "integer_datetimes": "on", "standard_conforming_strings": "on",
		"is_superuser": "off", "session_authorization": s.user, "default_transaction_read_only": "off", "in_hot_standby": "off",
		"transaction_read_only": "off", "transaction_isolation": "read committed", "default_transaction_isolation": "read committed",
		"search_path": "public", "extra_float_digits": "1", "max_identifier_length": "63", "statement_timeout": "0", "lc_collate": "C", "lc_ctype": "C",
	}
}

// own answers statements that are PostgreSQL's and not the engine's. answered tells whether it is
// one; the tag is what it ends with.
func (s *session) own(st *statement, to *result) (tag string, answered bool, err error) {
	switch first := st.word(0); first {
	case "BEGIN", "START":
		s.block = true
		return "BEGIN", true, nil
	case "COMMIT", "END":
		s.block = false
		return "COMMIT", true, nil
	case "ROLLBACK", "ABORT":
		s.block = s.block && (st.word(1) == "TO" || st.word(2) == "TO")
		return "ROLLBACK", true, nil
	case "SAVEPOINT", "RELEASE", "UNLISTEN", "DISCARD":
		return first, true, nil
	case "RESET":
		return first, true, s.reset(st)
	case "SET":
		return first, !engineSet(st), s.set(st)
	case "DEALLOCATE", "CLOSE":
		return first, true, nil
	}
	made, answered := s.made(st)
	if !answered {
		return "", false, nil
	}
	return st.word(0), true, to.texts(made)
}

// made answers a statement whose result is made here, without effects.
func (s *session) made(st *statement) (texts, bool) {
	switch st.word(0) {
	case "SHOW":
		value, known := s.shown(st)
		return oneText(value[0], value[1]), known
	case "SELECT":
		return s.constants(st.text)
	}
	return texts{}, false
}

// engineSet tells whether a SET is the engine's: SET 'name' = 'value'.
func engineSet(st *statement) bool { return st.word(1) == "" }

// setting is what follows SET, but for the word SESSION or LOCAL.
var setting = regexp.MustCompile(`(?is)^SET\s+(?:(?:SESSION|LOCAL)\s+)?([A-Za-z_][\w.]*)\s*(?:=|\s+TO\s)\s*(.*)$`)

// set keeps one of PostgreSQL's settings, which has no effect but that it is shown.
func (s *session) set(st *statement) error {
	if engineSet(st) {
		return nil
	}
	name, value := "", ""
	if m := setting.FindStringSubmatch(st.text); m != nil {
		name, value = strings.ToLower(m[1]), unquoted(m[2])
	} else if st.word(1) == "NAMES" {
		name, value = "client_encoding", unquoted(st.text[strings.LastIndexAny(st.text, " \t\n")+1:])
	}
	switch name {
	case "": // SET TIME ZONE, SET TRANSACTION and others.
		return nil
	case "client_encoding":
		switch strings.ToLower(strings.ReplaceAll(value, "-", "")) {
		case "utf8", "unicode", "default", "sql_ascii":
			return nil
		}
		return refuse(stateUnsupported, "there is no encoding but UTF8 here, and "+value+" is asked for", "SET client_encoding = 'UTF8'")
	case "timezone", "datestyle", "intervalstyle", "standard_conforming_strings":
		return nil // Times are always told in UTC, and with their zone.
	}
	if len(s.settings) > 200 || len(value) > 1<<10 {
		return refuse(stateInvalidValue, "these are too many settings, or too long ones", "")
	}
	s.settings[name] = value
	if name == "application_name" {
		return s.send(&pgproto3.ParameterStatus{Name: name, Value: value})
	}
	return nil
}

func (s *session) reset(st *statement) error {
	if st.word(1) == "ALL" {
		s.settings = s.defaults(nil)
	}
	return nil
}

// shown returns the name and the value of a setting that SHOW asks for.
func (s *session) shown(st *statement) (of [2]string, known bool) {
	name := strings.ToLower(strings.TrimSpace(st.text[len("SHOW"):]))
	switch name {
	case "transaction isolation level":
		name = "transaction_isolation"
	case "time zone":
		name = "timezone"
	}
	value, known := s.settings[name]
	for _, proper := range reported() {
		if strings.EqualFold(proper, name) {
			name = proper
		}
	}
	return [2]string{name, value}, known
}

// constant is one entry of a select list that reads nothing.
var constant = regexp.MustCompile(`(?is)^\s*(?:(-?\d+)|('(?:[^']|'')*')|(?:pg_catalog\.)?([a-z_]+)\s*(\(\s*\))?)\s*(?:::\s*\w+)?\s*(?:AS\s+("[^"]+"|\w+))?\s*$`)

// constants answers a SELECT that reads nothing: numbers, texts, and what clients ask of the
// server itself.
func (s *session) constants(text string) (row texts, ok bool) {
	row.rows = [][]string{nil}
	for _, one := range splitList(text[len("SELECT"):]) {
		m := constant.FindStringSubmatch(one)
		if m == nil {
			return row, false
		}
		c, value := textColumn{name: "?column?", oid: oidText}, ""
		switch {
		case m[1] != "":
			if _, err := strconv.ParseInt(m[1], 10, 32); err != nil {
				return row, false
			}
			c.oid, value = oidInt4, m[1]
		case m[2] != "":
			value = unquoted(m[2])
		default:
			c.name = strings.ToLower(m[3])
			if value, c.oid, ok = s.told(c.name, m[4] != ""); !ok {
				return row, false
			}
		}
		if m[5] != "" {
			c.name = strings.Trim(m[5], `"`)
		}
		row.columns, row.rows[0] = append(row.columns, c), append(row.rows[0], value)
	}
	return row, len(row.columns) > 0
}

// told is what a function of PostgreSQL says, or a name that is one.
func (s *session) told(name string, called bool) (value string, of oid, ok bool) {
	switch {
	case name == "version" && called:
		return "PostgreSQL " + s.settings["server_version"], oidText, true
	case name == "current_database" && called, name == "current_catalog":
		return s.database, oidText, true
	case name == "current_schema":
		return "public", oidText, true
	case name == "current_user", name == "session_user", name == "user", name == "current_role":
		return s.user, oidText, true
	case name == "pg_backend_pid" && called:
		return strconv.FormatUint(uint64(s.id), 10), oidInt4, true
	case name == "pg_is_in_recovery" && called:
		return "f", oidBool, true
	case name == "true" && !called, name == "false" && !called:
		return name[:1], oidBool, true
	}
	return "", 0, false
}

// splitList cuts a list at its commas, but for those in quotations.
func splitList(text string) (all []string) {
	start := 0
	for at := 0; at < len(text); {
		if text[at] == ',' {
			all = append(all, text[start:at])
			start = at + 1
			at++
			continue
		}
		at = next(text, at)
	}
	return append(all, text[start:])
}

// unquoted takes the quotes off a text that has some.
func unquoted(text string) string {
	text = strings.TrimSpace(text)
	if n := len(text); n >= 2 && text[0] == '\'' && text[n-1] == '\'' {
		return strings.ReplaceAll(text[1:n-1], "''", "'")
	}
	return strings.Trim(text, `"`)
}

// values tells whether an INSERT is one of values.
func (st *statement) values() bool { return !strings.Contains(strings.ToUpper(st.text), "SELECT") }
