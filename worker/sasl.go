package worker

import (
	"regexp"
	"strings"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// jaasOption finds key="value" or key='value' in a JAAS line.
var jaasOption = regexp.MustCompile(`([\w.]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\s;]+))`)

// jaas returns the options of sasl.jaas.config. The module before them is Java's affair:
// sasl.mechanism says what is done, and nothing that a configuration names is ever run.
func jaas(line string) map[string]string {
	options := map[string]string{}
	for _, m := range jaasOption.FindAllStringSubmatch(line, -1) {
		options[m[1]] = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(m[2]) + m[3] + m[4]
	}
	return options
}

func (r *clientReader) mechanism() sasl.Mechanism {
	options := jaas(r.text("sasl.jaas.config", ""))
	user, password := options["username"], options["password"]
	name := strings.ToUpper(r.text("sasl.mechanism", "GSSAPI"))
	if name != "OAUTHBEARER" && name != "GSSAPI" && (user == "" || password == "") {
		r.fault("sasl.jaas.config", `username and password are missing → write it as org.apache.kafka.common.security.plain.PlainLoginModule required username="…" password="…";`)
		return nil
	}
	switch name {
	case "PLAIN":
		return plain.Auth{User: user, Pass: password}.AsMechanism()
	case "SCRAM-SHA-256":
		return scram.Auth{User: user, Pass: password}.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		return scram.Auth{User: user, Pass: password}.AsSha512Mechanism()
	case "OAUTHBEARER":
		return r.bearer(options)
	}
	r.fault("sasl.mechanism", "the mechanism %s is not supported → use PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER", name)
	return nil
}
