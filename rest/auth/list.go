package auth

import (
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// builder makes a method, nil when the settings do not ask for it. report is told of what
// goes wrong later.
type builder func(s connect.Settings, report func(message string, err error)) (Method, error)

// methods lists the methods: one line each. They are tried in this order.
func methods() []builder {
	return []builder{
		newCertificates,
		newTokens,
		newJWT,
		newBasic,
	}
}

// Keys are the settings of all methods, for the table of the server's settings.
func Keys() []connect.ConfigKey {
	keys := []connect.ConfigKey{
		{Name: "rest.roles", Optional: true, Check: connect.CheckText(checkRoles), Importance: connect.High, Group: "Access",
			Doc: "Who may do what: name=role entries separated by semicolons, such as \"ann=admin; bob=operator shop-,crm-; group:sre=operator; *=viewer\". " +
				"Roles are viewer, operator and admin; prefixes of connector names behind a role limit it to these. Without it, whoever is known may do everything, as in Kafka Connect."},
		{Name: "rest.extension.classes", Type: connect.TypeList, Optional: true, Importance: connect.Low, Group: "Access",
			Doc: "Only the basic authentication extension of Kafka Connect is known; it asks for rest.basic.auth.file or rest.basic.auth.users."},
	}
	for _, more := range [][]connect.ConfigKey{basicKeys(), tokenKeys(), jwtKeys(), certificateKeys()} {
		keys = append(keys, more...)
	}
	return keys
}

func checkRoles(text string) error {
	_, err := parseRoles(text)
	return err
}

// checkExtensions refuses REST extensions of Kafka Connect that are not known, and the
// known one where nobody would be asked.
func checkExtensions(s connect.Settings, asked bool) *connect.Error {
	for _, class := range s.List("rest.extension.classes") {
		if !strings.HasSuffix(class, "BasicAuthSecurityRestExtension") {
			return connect.ConfigError("rest.extension.classes", "the REST extension %s is not known; only BasicAuthSecurityRestExtension is", class)
		}
		if !asked {
			e := connect.ConfigError("rest.extension.classes", "basic authentication is asked for, and there are no users")
			e.Mend = "set rest.basic.auth.file to a file that tidemill user add or htpasswd -B writes"
			return e
		}
	}
	return nil
}
