package config

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// reference is ${provider:key} or ${provider:path:key}, as Connect writes it.
var reference = regexp.MustCompile(`\$\{([^}:]*):(?:([^}:]*):)?([^}]*)\}`)

// Resolver replaces references to secrets by their values. The values are read anew
// each time, so that a rotated secret is found; nothing is kept but in the redactor.
//
// Three providers are there without being declared:
//
//   - ${env:VAR}: any variable of the process, save those that begin with CONNECT_ or
//     TIDEMILL_, which are the worker's own settings.
//   - ${file:/path:key}: a key of a .properties file in /run/secrets, /var/run/secrets
//     or /etc/tidemill/secrets.
//   - ${dir:/path:file}: a whole file in one of these folders; one newline at its end
//     is left out.
//
// The worker's settings may declare others, or these anew, as in Connect:
// config.providers, config.providers.<name>.class and, as
// config.providers.<name>.param.…, allowed.paths for files and folders and
// allowlist.pattern for variables. A declared provider without such a limit has none,
// which is what Connect does: the operator who declares it has been asked.
// [Resolver.Warnings] says so.
type Resolver struct {
	providers map[string]provider
	redactor  *Redactor
	warnings  []string
}

// provider finds one value. The error's text must not hold any value.
type provider interface {
	get(path, key string) (string, error)
}

// classes are Connect's providers by the last part of their Java class name.
var classes = map[string]func(params map[string]string) (p provider, limited bool, err error){
	"FileConfigProvider":      newFiles(readKey),
	"DirectoryConfigProvider": newFiles(readWhole),
	"EnvVarConfigProvider":    newVariables,
}

// defaultRoots are the folders that undeclared providers may read.
var defaultRoots = []string{"/run/secrets", "/var/run/secrets", "/etc/tidemill/secrets"}

// NewResolver returns a resolver with the providers the worker's settings declare,
// besides the three that are always there. What it resolves for secret settings is
// added to the redactor, which must not be nil.
func NewResolver(worker connect.Config, redactor *Redactor) (*Resolver, error) {
	r := &Resolver{redactor: redactor, providers: map[string]provider{
		"env":  variables{lookup: os.LookupEnv, allowed: notOwn},
		"file": files{roots: defaultRoots, read: readKey},
		"dir":  files{roots: defaultRoots, read: readWhole},
	}}
	var faults connect.Errors
	for name := range strings.SplitSeq(worker["config.providers"], ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		if err := r.declare(name, worker); err != nil {
			faults = append(faults, err)
		}
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return r, nil
}

func (r *Resolver) declare(name string, worker connect.Config) *connect.Error {
	prefix := "config.providers." + name + "."
	class := strings.TrimSpace(worker[prefix+"class"])
	build, known := classes[class[strings.LastIndexByte(class, '.')+1:]]
	if !known {
		e := fault("config.provider_class", prefix+"class", "there is no config provider of the class %q", class)
		e.Mend = "use one of " + strings.Join(slices.Sorted(maps.Keys(classes)), ", ")
		return e
	}
	params := map[string]string{}
	for key, text := range worker {
		if param, ok := strings.CutPrefix(key, prefix+"param."); ok {
			params[param] = text
		}
	}
	p, limited, err := build(params)
	if err != nil {
		e := fault("config.provider_param", prefix+"param", "the provider's parameters are wrong")
		e.Cause = err
		return e
	}
	if !limited {
		r.warnings = append(r.warnings, fmt.Sprintf(
			"the config provider %s has no limit: whoever can create a connector can read what this process can; set %sparam.allowed.paths or allowlist.pattern", name, prefix))
	}
	r.providers[name] = p
	return nil
}

// Warnings returns what an operator should know about the declared providers.
func (r *Resolver) Warnings() []string { return r.warnings }

// Redactor returns the redactor that knows the resolved secrets.
func (r *Resolver) Redactor() *Redactor { return r.redactor }

// Resolve returns the settings with every reference replaced. A reference to a
// provider nobody declared stays as it is, as in Connect. A reference that cannot be
// read is a fault: code "config.secret", place the setting, the reference named and
// no value. All faults are reported at once.
func (r *Resolver) Resolve(config connect.Config) (connect.Config, error) {
	out := make(connect.Config, len(config))
	var faults connect.Errors
	var secrets []string
	open := map[string]bool{}
	for _, key := range sortedKeys(config) {
		text, values, err := r.text(key, config[key])
		faults = append(faults, err...)
		out[key] = text
		if IsSecret(key) {
			secrets = append(secrets, values...)
		} else {
			open[text] = true
		}
	}
	if len(faults) > 0 {
		return nil, faults
	}
	r.redactor.Add(slices.DeleteFunc(secrets, func(s string) bool { return open[s] })...)
	r.redactor.AddConfig(out, nil)
	return out, nil
}

// text replaces the references of one setting and returns what they stood for. A
// value is not looked at for further references.
func (r *Resolver) text(key, text string) (out string, values []string, faults connect.Errors) {
	if !strings.Contains(text, "${") {
		return text, nil, nil
	}
	out = reference.ReplaceAllStringFunc(text, func(ref string) string {
		parts := reference.FindStringSubmatch(ref)
		p, declared := r.providers[parts[1]]
		if !declared {
			return ref
		}
		value, err := p.get(parts[2], parts[3])
		if err != nil {
			faults = append(faults, &connect.Error{
				Code: "config.secret", Class: connect.ClassConfig, Place: key,
				Message: "the reference " + ref + " cannot be resolved", Cause: err,
				Mend: "make it available to the worker, or correct the reference",
			})
			return ref
		}
		values = append(values, value)
		return value
	})
	return out, values, faults
}
