package postgres

import (
	"errors"
	"net"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemill/tidemill/connect"
)

// splitHosts reads database.hostname and database.port as the client library takes
// them (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-MULTIPLE-HOSTS):
// lists of the same length, or one port for all. A host may bring its own port, as in
// JDBC's addresses.
func splitHosts(hosts, ports string) (hostList, portList string, fault *connect.Error) {
	names, numbers := strings.Split(hosts, ","), strings.Split(ports, ",")
	if len(numbers) != 1 && len(numbers) != len(names) {
		return "", "", connect.ConfigError("database.port", "there are %d ports for %d hosts; give one port, or one for each host", len(numbers), len(names))
	}
	each := make([]string, len(names))
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
		number := strings.TrimSpace(numbers[min(i, len(numbers)-1)])
		if host, port, err := net.SplitHostPort(names[i]); err == nil {
			names[i], number = host, port
		}
		if names[i] == "" {
			return "", "", connect.ConfigError("database.hostname", "the list of hosts has an empty entry")
		}
		if n, err := strconv.Atoi(number); err != nil || n < 1 || n > 65535 {
			return "", "", connect.ConfigError("database.port", "Invalid value %s for configuration database.port: Not a number of type INT, or none from 1 to 65535", number)
		}
		each[i] = number
	}
	return strings.Join(names, ","), strings.Join(each, ","), nil
}

// roles are the words of database.targetServerType, JDBC's and those of
// target_session_attrs, and what they are for the client library.
func roles() map[string]string {
	return map[string]string{
		"any": "any", "primary": "primary", "master": "primary", "read-write": "read-write",
		"secondary": "standby", "slave": "standby", "standby": "standby", "read-only": "read-only",
		"preferprimary": "any", "prefersecondary": "prefer-standby", "preferslave": "prefer-standby", "prefer-standby": "prefer-standby",
	}
}

// checkRole accepts the words of database.targetServerType.
func checkRole(word string) error {
	if roles()[strings.ToLower(word)] != "" || word == "" {
		return nil
	}
	return errors.New("it must be one of primary, standby, prefer-standby, read-write, read-only and any, or one of JDBC's words for them")
}

// deriveHosts works out where to connect to. Of several servers the primary is the
// one to read from, since it has the slot, unless the configuration says otherwise.
func (s *settings) deriveHosts(role string, readOnly bool) *connect.Error {
	hosts, ports, fault := splitHosts(s.host, s.port)
	if fault != nil {
		return fault
	}
	s.host, s.port, s.role = hosts, ports, roles()[strings.ToLower(role)]
	if s.role != "" || !strings.Contains(hosts, ",") {
		return nil
	}
	if s.role = "primary"; readOnly {
		s.role = "prefer-standby"
	}
	return nil
}

// address names the servers for messages.
func (s *settings) address() string {
	hosts, ports := strings.Split(s.host, ","), strings.Split(s.port, ",")
	for i := range hosts {
		hosts[i] = net.JoinHostPort(hosts[i], ports[min(i, len(ports)-1)])
	}
	return strings.Join(hosts, ", ")
}

// wrongRole returns the error for servers that answer, but are not what is wanted:
// during a failover there is no primary for a while. Nil for other errors.
func wrongRole(err error, doing string) *connect.Error {
	for cause, what := range map[error]string{
		pgconn.ErrStandbyConnection:  "no server that could be reached is a primary",
		pgconn.ErrPrimaryConnection:  "no server that could be reached is a standby",
		pgconn.ErrReadOnlyConnection: "no server that could be reached takes writes",
	} {
		if errors.Is(err, cause) {
			e := retriable("pg.role", what+", "+doing, err)
			e.Mend = "wait until a standby is promoted; or check database.hostname and database.targetServerType"
			return e
		}
	}
	return nil
}
