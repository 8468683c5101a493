package rest

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/rest/auth"
)

// ConfigDef returns the table of the REST server's settings. It is open to
// others, which belong to the worker, but not to unknown ones that begin with rest.
func ConfigDef() *connect.ConfigDef {
	keys := append(auth.Keys(),
		connect.ConfigKey{Name: "listeners", Type: connect.TypeList, Optional: true, Check: checkListeners, Importance: connect.High, Group: "REST",
			Doc: "Where to listen, such as http://0.0.0.0:8083 or https://:8443, separated by commas. Without it: rest.host.name and rest.port."},
		connect.ConfigKey{Name: "rest.host.name", Default: "127.0.0.1", Importance: connect.Medium, Group: "REST",
			Doc: "The address to listen on when there are no listeners."},
		connect.ConfigKey{Name: "rest.port", Type: connect.TypeInt, Default: "8083", Check: connect.Between(0, 65535), Importance: connect.Medium, Group: "REST",
			Doc: "The port to listen on when there are no listeners; 0 takes a free one."},
		connect.ConfigKey{Name: "admin.listeners", Type: connect.TypeList, Optional: true, Check: checkListeners, Importance: connect.Low, Group: "REST",
			Doc: "Where /admin is served instead of on the listeners; empty switches it off."},
		connect.ConfigKey{Name: "rest.allowed.hosts", Type: connect.TypeList, Optional: true, Importance: connect.Low, Group: "REST",
			Doc: "Host names by which a loopback listener may be asked, besides localhost and addresses. Another is refused, against DNS rebinding. When set, it holds for all listeners."},
		connect.ConfigKey{Name: "ssl.certificate.location", Optional: true, Importance: connect.Medium, Group: "REST",
			Doc: "PEM file with the certificate chain of https listeners."},
		connect.ConfigKey{Name: "ssl.key.location", Optional: true, Importance: connect.Medium, Group: "REST",
			Doc: "PEM file with the private key of https listeners."},
		connect.ConfigKey{Name: "access.control.allow.origin", Optional: true, Importance: connect.Low, Group: "REST",
			Doc: "Origins, separated by commas, whose pages may use the interface from a browser; * for all, to read only."},
		connect.ConfigKey{Name: "access.control.allow.methods", Optional: true, Importance: connect.Low, Group: "REST",
			Doc: "Methods such pages may use; without it GET, POST and HEAD."},
		connect.ConfigKey{Name: "response.http.headers.config", Optional: true, Check: connect.CheckText(checkHeaders), Importance: connect.Low, Group: "REST",
			Doc: "Headers of every answer: a list of \"set|add name: value\", separated by commas."},
		connect.ConfigKey{Name: "rest.compat.errors", Default: "kafka", Check: connect.OneOf("kafka", "strict"), Importance: connect.Low, Group: "REST",
			Doc: "kafka answers 500 where Kafka Connect does although the client is at fault (malformed JSON, unknown class); strict answers 400."},
		connect.ConfigKey{Name: "rest.mask.secrets", Type: connect.TypeBoolean, Default: "true", Importance: connect.Medium, Group: "REST",
			Doc: "Whether secrets in configurations are shown as ********. The mask written back means unchanged."},
		connect.ConfigKey{Name: "ksql.service.id", Default: "default_", Importance: connect.Low, Group: "REST",
			Doc: "The name of the SQL service in the answer of /info."},
		connect.ConfigKey{Name: "rest.max.body.bytes", Type: connect.TypeInt, Default: "1048576", Check: connect.Between(1024, 256<<20), Importance: connect.Low, Group: "REST",
			Doc: "The largest request body that is read."},
		connect.ConfigKey{Name: "rest.request.timeout.ms", Type: connect.TypeDuration, Default: "90000", Check: connect.Between(1, 24*3600*1000), Importance: connect.Low, Group: "REST",
			Doc: "How long a request may take."},
		connect.ConfigKey{Name: "rest.max.requests", Type: connect.TypeInt, Default: "1024", Check: connect.Between(1, 1<<20), Importance: connect.Low, Group: "REST",
			Doc: "How many requests are answered at a time, queries that go on among them; those beyond are refused with 503."},
		connect.ConfigKey{Name: "rest.max.connections", Type: connect.TypeInt, Default: "4096", Check: connect.Between(1, 1<<20), Importance: connect.Low, Group: "REST",
			Doc: "How many connections a listener has open at a time; those beyond wait."},
		connect.ConfigKey{Name: "rest.subscribe.max.bytes", Type: connect.TypeInt, Default: "67108864", Check: connect.Between(1024, 64<<30), Importance: connect.Low, Group: "REST",
			Doc: "How many bytes the rows of one query may take that clients subscribe to. Its clients share them."},
		connect.ConfigKey{Name: "rest.subscribe.max.queries", Type: connect.TypeInt, Default: "100", Check: connect.Between(1, 100_000), Importance: connect.Low, Group: "REST",
			Doc: "How many different queries may be subscribed to at a time."},
		connect.ConfigKey{Name: "rest.insecure", Type: connect.TypeBoolean, Default: "false", Importance: connect.High, Group: "Access",
			Doc: "Whether the interface may be reached from other machines without asking anybody who they are."},
		connect.ConfigKey{Name: "rest.open.paths", Type: connect.TypeList, Optional: true, Check: connect.CheckText(checkOpen), Importance: connect.Medium, Group: "Access",
			Doc: "Which of /health, /healthcheck and /metrics may be asked without saying who one is, for probes and scrapers."},
		connect.ConfigKey{Name: "rest.audit.file", Optional: true, Importance: connect.Medium, Group: "Access",
			Doc: "File to which a line of JSON is appended for each request that changes something or is refused. Without it these lines are in the log, as those of the logger tidemill.audit."},
	)
	return connect.NewConfigDef(keys...).OpenTo(func(name string) bool {
		return !strings.HasPrefix(name, "rest.") || strings.HasPrefix(name, "rest.advertised.")
	})
}

// checkOpen accepts the paths that tell nothing about connectors beyond their names.
func checkOpen(text string) error {
	for path := range strings.SplitSeq(text, ",") {
		switch strings.TrimSpace(path) {
		case "", "/health", "/healthcheck", "/metrics":
		default:
			return fmt.Errorf("%q cannot be open to everybody: only /health, /healthcheck and /metrics can", strings.TrimSpace(path))
		}
	}
	return nil
}

var checkListeners = connect.CheckText(func(text string) error {
	for one := range strings.SplitSeq(text, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		if _, err := parseListener(one); err != nil {
			return err
		}
	}
	return nil
})

// listener is one place to listen on.
type listener struct {
	tls     bool
	address string      // host:port
	config  *tls.Config // What it is spoken to with, if it is https.
}

func parseListener(text string) (listener, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Path != "" && u.Path != "/" {
		return listener{}, fmt.Errorf("%q is not of the form http://host:port", text)
	}
	scheme := strings.ToLower(u.Scheme)
	if scheme != "http" && scheme != "https" {
		return listener{}, fmt.Errorf("the listener %q must begin with http:// or https://", text)
	}
	port := u.Port()
	if port == "" {
		return listener{}, fmt.Errorf("the listener %q names no port", text)
	}
	return listener{tls: scheme == "https", address: net.JoinHostPort(u.Hostname(), port)}, nil
}

// loopback tells whether only this machine can reach the listener.
func (l listener) loopback() bool { return auth.Loopback(l.address) }

// parseListeners returns the listeners of a setting that was checked.
func parseListeners(texts []string) (all []listener) {
	for _, text := range texts {
		if l, err := parseListener(text); err == nil {
			all = append(all, l)
		}
	}
	return all
}

// header is one header of every answer.
type header struct {
	add         bool
	name, value string
}

func parseHeaders(text string) (all []header, err error) {
	for one := range strings.SplitSeq(text, ",") {
		one = strings.Trim(strings.TrimSpace(one), `"`)
		if one == "" {
			continue
		}
		action, rest, _ := strings.Cut(one, " ")
		name, value, ok := strings.Cut(rest, ":")
		if !ok || action != "set" && action != "add" || strings.TrimSpace(name) == "" {
			return nil, fmt.Errorf("%q is not of the form set|add name: value", one)
		}
		all = append(all, header{add: action == "add", name: strings.TrimSpace(name), value: strings.TrimSpace(value)})
	}
	return all, nil
}

func checkHeaders(text string) error {
	_, err := parseHeaders(text)
	return err
}
