package auth

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

func certificateKeys() []connect.ConfigKey {
	return []connect.ConfigKey{
		{Name: "rest.ssl.principal.mapping.rules", Default: "RULE:^CN=([^,+]+).*$/$1/,DEFAULT", Check: connect.CheckText(checkMapping), Importance: connect.Low, Group: "Access",
			Doc: "How the name in a client's certificate becomes the name in rest.roles, in the words of Kafka's ssl.principal.mapping.rules. Without it: the common name when the name begins with it, else the whole name."},
	}
}

func checkMapping(text string) error {
	_, err := parseMapping(text)
	return err
}

// TLSSettings returns the ssl. settings of the listeners whose own settings begin with the
// prefix: these when there are any, else the worker's, as in Kafka Connect; and what their
// names begin with.
func TLSSettings(all connect.Config, prefix string) (given connect.Config, from string) {
	own, others := connect.Config{}, connect.Config{}
	for name, text := range all {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			own[rest] = text
		} else if strings.HasPrefix(name, "ssl.") {
			others[name] = text
		}
	}
	if len(own) > 0 {
		return own, prefix
	}
	return others, ""
}

// certificates recognizes the certificates of clients, which TLS has verified.
type certificates struct{ rules []rule }

func newCertificates(s connect.Settings, _ func(string, error)) (Method, error) {
	asked := false
	for _, prefix := range []string{"listeners.https.", "admin.listeners.https."} {
		given, from := TLSSettings(s.Config(), prefix)
		switch want := strings.ToLower(strings.TrimSpace(given["ssl.client.auth"])); want {
		case "", "none":
		case "requested", "required":
			asked = true
		default:
			return nil, connect.ConfigError(from+"ssl.client.auth", "Invalid value %s for configuration %sssl.client.auth: String must be one of: required, requested, none", want, from)
		}
	}
	if !asked {
		return nil, nil
	}
	rules, err := parseMapping(s.String("rest.ssl.principal.mapping.rules"))
	return certificates{rules}, err
}

// Name implements Method.
func (certificates) Name() string { return "certificate" }

// Challenge implements Method.
func (certificates) Challenge() string { return "" }

// Identify implements Method.
func (c certificates) Identify(r *http.Request) (*Principal, error) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return nil, nil
	}
	full := r.TLS.VerifiedChains[0][0].Subject.String()
	if full == "" {
		return nil, errors.New("the certificate has no subject")
	}
	for _, one := range c.rules {
		if name, ok := one.apply(full); ok {
			return &Principal{Name: name}, nil
		}
	}
	return nil, errors.New("no rule of rest.ssl.principal.mapping.rules fits the subject of the certificate")
}

// rule turns the name in a certificate into that of a principal (KIP-371).
type rule struct {
	pattern *regexp.Regexp // Nil: every name, as it is.
	to      string
	letters func(string) string
}

func (r rule) apply(full string) (string, bool) {
	if r.pattern == nil {
		return full, true
	}
	m := r.pattern.FindStringSubmatchIndex(full)
	if m == nil || m[0] != 0 || m[1] != len(full) {
		return "", false
	}
	return r.letters(string(r.pattern.ExpandString(nil, r.to, full, m))), true
}

// ruleForm is one rule: RULE:pattern/replacement/ with L or U behind it for lower or upper
// case, or DEFAULT.
var ruleForm = regexp.MustCompile(`^(?:DEFAULT|RULE:((?:[^/\\]|\\.)*)/((?:[^/\\]|\\.)*)/([LU]?))\s*(?:,\s*|$)`)

// groupRef is a reference to a group, which Go's replacements take to be longer than
// Java's.
var groupRef = regexp.MustCompile(`\$(\d)`)

func parseMapping(text string) (rules []rule, err error) {
	for text = strings.TrimSpace(text); text != ""; {
		m := ruleForm.FindStringSubmatch(text)
		if m == nil {
			return nil, fmt.Errorf("%q does not begin with DEFAULT or RULE:pattern/replacement/", text)
		}
		one := rule{letters: func(s string) string { return s }}
		if strings.HasPrefix(m[0], "RULE:") {
			if one.pattern, err = regexp.Compile(m[1]); err != nil {
				return nil, err
			}
			one.to = groupRef.ReplaceAllString(m[2], "$${$1}")
			switch m[3] {
			case "L":
				one.letters = strings.ToLower
			case "U":
				one.letters = strings.ToUpper
			}
		}
		rules, text = append(rules, one), text[len(m[0]):]
	}
	return rules, nil
}
