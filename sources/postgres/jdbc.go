package postgres

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// Properties of the Java driver come after "driver." or "database.". Those that say
// something about the connection are followed; those about the inside of the driver
// mean nothing here and are accepted; those that ask for what is not done, and those
// that are not known, are refused by name.

// driverFollowed are followed.
func driverFollowed() map[string]func(set *settings, value string) error {
	tls := func(name string) func(*settings, string) error {
		return func(set *settings, value string) error { set.ssl[name] = value; return nil }
	}
	timeout := func(set *settings, value string) error {
		n, err := strconv.Atoi(value)
		if err == nil && n > 0 {
			set.connectTimeout = time.Duration(n) * time.Second
		}
		return err
	}
	word := func(name string, words ...string) func(*settings, string) error {
		return func(set *settings, value string) error {
			if !slices.Contains(words, value) {
				return connect.ConfigError(name, "it must be one of %s", strings.Join(words, ", "))
			}
			set.ssl[name] = value
			return nil
		}
	}
	return map[string]func(*settings, string) error{
		"sslmode": word("sslmode", "disable", "allow", "prefer", "require", "verify-ca", "verify-full"), "sslrootcert": tls("sslrootcert"),
		"sslcert":        func(set *settings, value string) error { set.cert = value; return nil },
		"sslkey":         func(set *settings, value string) error { set.key = value; return nil },
		"sslpassword":    func(set *settings, value string) error { set.secrets.keyPassword = value; return nil },
		"sslNegotiation": func(set *settings, value string) error { set.ssl["sslnegotiation"] = value; return nil },
		"channelBinding": func(set *settings, value string) error {
			return word("channel_binding", "prefer", "require", "disable")(set, value)
		},
		"requireAuth": tls("require_auth"),
		"ssl": func(set *settings, value string) error {
			if value != "false" && set.ssl["sslmode"] == "prefer" {
				set.ssl["sslmode"] = "verify-full" // As the Java driver reads it.
			}
			return nil
		},
		"options":        func(set *settings, value string) error { set.options = value; return nil },
		"connectTimeout": timeout, "loginTimeout": timeout,
	}
}

// driverInner concern the inside of the Java driver, or what is so in any case.
func driverInner() []string {
	return []string{
		"tcpKeepAlive", "tcpNoDelay", "socketTimeout", "cancelSignalTimeout", "ApplicationName", "assumeMinServerVersion", "loggerLevel", "loggerFile", "logUnclosedConnections",
		"logServerErrorDetail", "prepareThreshold", "preparedStatementCacheQueries", "preparedStatementCacheSizeMiB", "databaseMetadataCacheFields",
		"databaseMetadataCacheFieldsMiB", "preferQueryMode", "binaryTransfer", "binaryTransferEnable", "binaryTransferDisable", "defaultRowFetchSize", "adaptiveFetch",
		"adaptiveFetchMinimum", "adaptiveFetchMaximum", "maxResultBuffer", "maxSendBufferSize", "receiveBufferSize", "sendBufferSize", "reWriteBatchedInserts", "unknownLength",
		"stringtype", "autosave", "cleanupSavepoints", "readOnly", "readOnlyMode", "replication", "disableColumnSanitiser", "escapeSyntaxCallMode", "quoteReturningIdentifiers",
		"hideUnprivilegedObjects", "allowEncodingChanges", "logLevel", "gssEncMode", "gssResponseTimeout", "sslResponseTimeout", "hostRecheckSeconds", "loadBalanceHosts",
	}
}

// driverRefused ask for what is not done.
func driverRefused() map[string]string {
	classes := "Java classes cannot be loaded"
	kerberos := "logins by Kerberos are not supported; use a password or a client certificate"
	return map[string]string{
		"socketFactory": classes, "socketFactoryArg": classes, "sslfactoryarg": classes, "sslhostnameverifier": classes, "sslpasswordcallback": classes,
		"authenticationPluginClassName": classes, "xmlFactoryFactory": classes, "kerberosServerName": kerberos, "jaasApplicationName": kerberos, "jaasLogin": kerberos,
		"gsslib": kerberos, "sspiServiceClass": kerberos, "useSpnego": kerberos, "gssUseDefaultCreds": kerberos,
		"currentSchema": "names are written with their schemas; so must be those in statements of your own",
		"service":       "the connection is described by the settings alone", "localSocketAddress": "the address of this side is the operating system's choice",
	}
}

// passThrough follows the properties of the Java driver, and returns those that
// cannot be.
func (set *settings) passThrough(config connect.Config) (faults connect.Errors) {
	followed, refused, own := driverFollowed(), driverRefused(), configDef()
	for _, setting := range slices.Sorted(maps.Keys(config)) {
		name, ok := driverProperty(setting)
		if _, ours := own.Key(setting); ours || !ok {
			continue
		}
		value := strings.TrimSpace(config[setting])
		follow := followed[name]
		switch reason, no := refused[name]; {
		case no:
			faults = append(faults, connect.ConfigError(setting, "%s", reason))
		case follow != nil:
			if err := follow(set, value); err != nil {
				faults = append(faults, connect.ConfigError(setting, "%q cannot be followed: %v", value, err))
			}
		case !slices.Contains(driverInner(), name):
			e := &connect.Error{Code: "config.unknown", Class: connect.ClassConfig, Place: setting, Message: "there is neither a setting nor a property of the driver of this name"}
			if near := connect.Nearest(setting, settingNames()); near != "" {
				e.Mend = "did you mean " + near + "?"
			}
			faults = append(faults, e)
		}
	}
	return faults
}

// driverProperty returns the driver's property that a setting names.
func driverProperty(setting string) (string, bool) {
	if name, ok := strings.CutPrefix(setting, "driver."); ok {
		return name, true
	}
	return strings.CutPrefix(setting, "database.")
}

// settingNames are the names that a misspelt setting may have meant.
func settingNames() (names []string) {
	for _, k := range configDef().Keys() {
		names = append(names, k.Name)
	}
	for name := range driverFollowed() {
		names = append(names, "database."+name, "driver."+name)
	}
	return names
}
