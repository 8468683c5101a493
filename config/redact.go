package config

import (
	"encoding/json"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/tidemill/tidemill/connect"
)

// Masked is what is shown in place of a secret.
const Masked = "********"

// secretWords make a setting a secret wherever they stand in its name, and
// secretEnds when its name ends so.
var (
	secretWords = []string{"password", "passwd", "passphrase", "secret"}
	secretEnds  = []string{
		"pwd", "pass", "token", "credential", "credentials", "apikey", "api.key", "access.key", "private.key", "account.key",
		"secret.key", "keystore.key", "sasl.jaas.config", "user.info", "authorization",
	}
	// openEnds are names that speak of a secret without holding one.
	openEnds = []string{".file", ".path", ".url", ".source", ".class", ".provider", ".type", ".enabled", ".enable", ".ms", ".algorithm", ".location"}
)

// IsSecret tells by its name whether a setting holds a secret, whatever plugin it
// belongs to.
func IsSecret(key string) bool {
	name := dotted(key)
	for _, end := range openEnds {
		if strings.HasSuffix(name, end) {
			return false
		}
	}
	for _, word := range secretWords {
		if strings.Contains(name, word) {
			return true
		}
	}
	for _, end := range secretEnds {
		if before, ok := strings.CutSuffix(name, end); ok && (before == "" || strings.HasSuffix(before, ".")) {
			return true
		}
	}
	return false
}

// dotted brings accessKey, access_key and access-key to access.key.
func dotted(key string) string {
	if !strings.ContainsFunc(key, func(c rune) bool { return c == '_' || c == '-' || c >= 'A' && c <= 'Z' }) {
		return key
	}
	var b strings.Builder
	for i, c := range key {
		switch {
		case c == '_' || c == '-':
			c = '.'
		case c >= 'A' && c <= 'Z':
			if i > 0 && key[i-1] >= 'a' && key[i-1] <= 'z' {
				b.WriteByte('.')
			}
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	return b.String()
}

// onlyReference is a value that is one reference and nothing else: it may be shown.
var onlyReference = regexp.MustCompile(`^\s*\$\{[^}:]+:[^}]*\}\s*$`)

// form finds secrets by the text around them; the last group of the pattern is the
// secret. Texts without mark cannot match, which saves most of them the search.
type form struct {
	mark    string
	pattern *regexp.Regexp
}

// forms are the password in a URL, password=… in a URL or a list of settings, and
// the header that carries credentials.
var forms = []form{
	{"://", regexp.MustCompile(`(://[^\s/?#:@"']*:)([^\s/?#@"']+)@`)},
	{"=", regexp.MustCompile(`(?i)\b((?:password|passwd|pwd|secret|token|api_?key|sslpassword)=)("[^"]*"|'[^']*'|[^\s&;,"')]+)`)},
	{"uthorization", regexp.MustCompile(`(?i)(\bauthorization["']?\s*[:=]\s*["']?(?:basic|bearer)\s+)([^\s"',;]+)`)},
}

// shown returns the secrets a text shows by its form alone.
func shown(text string) (secrets []string) {
	for _, f := range forms {
		if !strings.Contains(text, f.mark) {
			continue
		}
		for _, m := range f.pattern.FindAllStringSubmatch(text, -1) {
			if !onlyReference.MatchString(m[2]) {
				secrets = append(secrets, m[2])
			}
		}
	}
	return secrets
}

// maskText hides the secrets a text shows by its form alone.
func maskText(text string) string {
	for _, f := range forms {
		if !strings.Contains(text, f.mark) {
			continue
		}
		text = f.pattern.ReplaceAllStringFunc(text, func(found string) string {
			m := f.pattern.FindStringSubmatch(found)
			if onlyReference.MatchString(m[2]) {
				return found
			}
			return m[1] + Masked + found[len(m[1])+len(m[2]):]
		})
	}
	return text
}

// maskValue returns what may be shown of a setting.
func maskValue(key, text string, def *connect.ConfigDef) string {
	secret := IsSecret(key)
	if def != nil {
		if k, declared := def.Key(key); declared {
			secret = secret || k.Type == connect.TypePassword
		}
	}
	switch {
	case text == "" || strings.Contains(text, "${") && onlyReference.MatchString(text):
		return text
	case secret:
		return Masked
	}
	return maskText(text)
}

// Mask returns the settings as they may be shown: PASSWORD settings of the table
// (which may be nil) and those that are secrets by their name as [Masked], the
// password in a URL masked within it. References such as ${env:VAR} stay.
func Mask(config connect.Config, def *connect.ConfigDef) connect.Config {
	if config == nil {
		return nil
	}
	out := make(connect.Config, len(config))
	for key, text := range config {
		out[key] = maskValue(key, text, def)
	}
	return out
}

// Unmask returns new settings with every value that is the masked form of the old
// one replaced by the old one: what was read masked and is written back unchanged
// stays unchanged. A mask with nothing behind it is a fault with the code
// "config.masked".
func Unmask(config, old connect.Config, def *connect.ConfigDef) (connect.Config, error) {
	out := maps.Clone(config)
	var faults connect.Errors
	for _, key := range sortedKeys(config) {
		text := config[key]
		if !strings.Contains(text, Masked) {
			continue
		}
		before, had := old[key]
		switch {
		case had && maskValue(key, before, def) == text:
			out[key] = before
		case text == Masked || slices.Contains(shown(text), Masked):
			e := fault("config.masked", key, "the value is the mask of a secret, and there is no earlier value it could stand for")
			e.Mend = "write the secret, or a reference such as ${env:VAR}"
			faults = append(faults, e)
		}
	}
	return out, faults.OrNil()
}

// minSecret is the length from which a secret is looked for in texts: shorter ones
// would mask parts of ordinary words. By their setting they are masked all the same.
const minSecret = 4

// Redactor takes known secrets out of texts. It is safe for concurrent use.
type Redactor struct {
	mu       sync.Mutex // Guards known.
	known    map[string]bool
	replacer atomic.Pointer[strings.Replacer]
}

// NewRedactor returns a redactor that knows no secret yet.
func NewRedactor() *Redactor { return &Redactor{known: map[string]bool{}} }

// Add makes secrets known, also in the forms they take in JSON and in URLs. Values
// that are short, masks or references are passed over.
func (r *Redactor) Add(secrets ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := len(r.known)
	for _, s := range secrets {
		if len(s) < minSecret || s == Masked || onlyReference.MatchString(s) {
			continue
		}
		quoted, _ := json.Marshal(s)
		for _, form := range []string{s, strings.Trim(string(quoted), `"`), url.QueryEscape(s), url.PathEscape(s)} {
			r.known[form] = true
		}
	}
	if len(r.known) == before {
		return
	}
	// The longest first: where one secret begins another, the longer is taken out.
	forms := slices.SortedFunc(maps.Keys(r.known), func(a, b string) int { return len(b) - len(a) })
	pairs := make([]string, 0, 2*len(forms))
	for _, form := range forms {
		pairs = append(pairs, form, Masked)
	}
	r.replacer.Store(strings.NewReplacer(pairs...))
}

// AddConfig makes the secret settings of a configuration known: those of type
// PASSWORD in the table, which may be nil, and those that are secrets by their name.
// A value that another setting shows openly, such as a password that is also the
// user's name, is passed over: it could not be hidden.
func (r *Redactor) AddConfig(config connect.Config, def *connect.ConfigDef) {
	open := map[string]bool{}
	var secrets []string
	for key, text := range config {
		if maskValue(key, text, def) == Masked {
			secrets = append(secrets, text)
		} else {
			open[text] = true
		}
		for _, s := range shown(text) {
			s = strings.Trim(s, `"'`)
			secrets = append(secrets, s)
			if plain, err := url.PathUnescape(s); err == nil {
				secrets = append(secrets, plain)
			}
		}
	}
	r.Add(slices.DeleteFunc(secrets, func(s string) bool { return open[s] })...)
}

// Text returns the text without the secrets that are known or show by their form.
func (r *Redactor) Text(text string) string {
	if replacer := r.replacer.Load(); replacer != nil {
		text = replacer.Replace(text)
	}
	return maskText(text)
}

// Error returns err with the secrets taken out of its text. A [connect.Error] in its
// chain keeps code, class and the rest; the chain below it ends, because it could
// still tell.
func (r *Redactor) Error(err error) error {
	if err == nil || r.Text(err.Error()) == err.Error() {
		return err
	}
	var out connect.Errors
	for _, e := range Faults(err) {
		clean := *e
		clean.Place, clean.Message, clean.Mend = r.Text(e.Place), r.Text(e.Message), r.Text(e.Mend)
		if e.Cause != nil {
			clean.Cause = redacted(r.Text(e.Cause.Error()))
		}
		out = append(out, &clean)
	}
	if len(out) == 1 {
		return out[0]
	}
	return out
}

// redacted is what is left of an error that spoke of a secret.
type redacted string

func (e redacted) Error() string { return string(e) }
