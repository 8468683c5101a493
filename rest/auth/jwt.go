package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tidemill/tidemill/connect"
)

func jwtKeys() []connect.ConfigKey {
	return []connect.ConfigKey{
		{Name: "rest.jwt.keys.location", Optional: true, Importance: connect.High, Group: "Access",
			Doc: "Where the public keys of signed tokens (JWT) are: a file with a JWKS document or PEM, which is read again when it changes, or the https address at which their issuer publishes them (its jwks_uri)."},
		{Name: "rest.jwt.keys.refresh.ms", Type: connect.TypeDuration, Default: "3600000", Check: connect.Between(10_000, 7*24*3600*1000), Importance: connect.Low, Group: "Access",
			Doc: "How old keys from an address may be. A token whose key is not among them makes the worker look earlier, every ten seconds at most."},
		{Name: "rest.jwt.keys.truststore.location", Optional: true, Importance: connect.Medium, Group: "Access",
			Doc: "PEM file with the authorities of that address; those of the system unless set."},
		{Name: "rest.jwt.expected.audience", Type: connect.TypeList, Optional: true, Importance: connect.High, Group: "Access",
			Doc: "A token must be made for one of these audiences. Needed with rest.jwt.keys.location."},
		{Name: "rest.jwt.expected.issuer", Optional: true, Importance: connect.High, Group: "Access",
			Doc: "A token must come from this issuer. Needed with rest.jwt.keys.location."},
		{Name: "rest.jwt.algorithms", Type: connect.TypeList, Default: "RS256,PS256,ES256,EdDSA", Check: connect.CheckText(checkAlgorithms), Importance: connect.Low, Group: "Access",
			Doc: "The algorithms that signatures may have: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA; HS256, HS384 and HS512 with keys that are secret."},
		{Name: "rest.jwt.clock.skew.ms", Type: connect.TypeDuration, Default: "30000", Check: connect.Between(0, 10*60*1000), Importance: connect.Low, Group: "Access",
			Doc: "How far the clocks of this worker and of the tokens' issuer may be apart."},
		{Name: "rest.jwt.subject.claim", Default: "sub", Importance: connect.Low, Group: "Access",
			Doc: "The claim that names who it is."},
		{Name: "rest.jwt.groups.claim", Default: "groups", Importance: connect.Low, Group: "Access",
			Doc: "The claim that lists the groups they are in, for group:… entries of rest.roles; a text of words or a list."},
	}
}

func checkAlgorithms(text string) error {
	for name := range strings.SplitSeq(text, ",") {
		if !slices.Contains(algorithms(), jose.SignatureAlgorithm(strings.TrimSpace(name))) {
			return fmt.Errorf("the algorithm %q is not known", strings.TrimSpace(name))
		}
	}
	return nil
}

// signed asks for signed tokens: JSON Web Tokens (RFC 7519) in the compact form of
// signatures (RFC 7515, section 7.1). What the header says is only ever held against what
// the settings and the key allow (RFC 8725).
type signed struct {
	keys            keyring
	algorithms      []jose.SignatureAlgorithm
	audiences       []string
	issuer          string
	skew            time.Duration
	subject, groups string
	now             func() time.Time
}

func newJWT(s connect.Settings, report func(string, error)) (Method, error) {
	path := s.String("rest.jwt.keys.location")
	if path == "" {
		return nil, nil
	}
	m := signed{
		audiences: s.List("rest.jwt.expected.audience"), issuer: s.String("rest.jwt.expected.issuer"),
		skew: s.Duration("rest.jwt.clock.skew.ms"), subject: s.String("rest.jwt.subject.claim"), groups: s.String("rest.jwt.groups.claim"), now: time.Now,
	}
	for _, name := range s.List("rest.jwt.algorithms") {
		m.algorithms = append(m.algorithms, jose.SignatureAlgorithm(name))
	}
	for name, missing := range map[string]bool{"rest.jwt.expected.audience": len(m.audiences) == 0, "rest.jwt.expected.issuer": m.issuer == ""} {
		if missing {
			e := connect.ConfigError(name, "with rest.jwt.keys.location, tokens must be made for somebody by somebody: else those of every other service would do")
			e.Mend = "set " + name
			return nil, e
		}
	}
	var err error
	if m.keys, err = openKeys(path, s, report); err != nil {
		e := connect.ConfigError("rest.jwt.keys.location", "the keys of signed tokens cannot be used")
		e.Cause = err
		return nil, e
	}
	return m, nil
}

func openKeys(location string, s connect.Settings, report func(string, error)) (keyring, error) {
	switch scheme, _, _ := strings.Cut(location, "://"); scheme {
	case "https":
		f, err := fetch(location, s.String("rest.jwt.keys.truststore.location"), s.Duration("rest.jwt.keys.refresh.ms"), report)
		if err != nil {
			return nil, err
		}
		f.renewed() // An issuer that is away keeps no worker from starting; it is reported.
		return f, nil
	case "http":
		return nil, errors.New("whoever is on the way could give keys of their own → use an https:// address")
	}
	w, err := watch(location, parseKeys, report)
	return keyFile{w}, err
}

// Name implements Method.
func (signed) Name() string { return "jwt" }

// Challenge implements Method.
func (signed) Challenge() string { return bearerChallenge }

// maxTokenBytes bounds a token, and tokenDots is how many dots one has.
const (
	maxTokenBytes = 16 << 10
	tokenDots     = 2
)

// Identify implements Method.
func (m signed) Identify(r *http.Request) (*Principal, error) {
	token, ok := bearer(r)
	if !ok || strings.Count(token, ".") != tokenDots || len(token) > maxTokenBytes {
		return nil, nil
	}
	claims, err := m.verify(token)
	if err != nil {
		return nil, fmt.Errorf("the signed token is refused: %w", err)
	}
	p := &Principal{}
	if json.Unmarshal(claims[m.subject], &p.Name) != nil || p.Name == "" {
		return nil, fmt.Errorf("the signed token has no claim %s", m.subject)
	}
	if raw, ok := claims[m.groups]; ok {
		p.Groups = words(raw)
	}
	return p, nil
}

// verify returns the claims of a token whose signature, time, issuer and audience are right.
func (m signed) verify(token string) (map[string]json.RawMessage, error) {
	// What a header demands by "crit" is not known here, and so refused.
	t, err := jose.ParseSignedCompact(token, m.algorithms)
	if _, other := errors.AsType[*jose.ErrUnexpectedSignatureAlgorithm](err); other {
		return nil, errors.New("its algorithm is not among those of rest.jwt.algorithms")
	}
	if err != nil {
		return nil, errors.New("it is none")
	}
	payload, ok := signedBy(t, m.keys.get())
	if !ok && m.keys.renewed() {
		payload, ok = signedBy(t, m.keys.get())
	}
	if !ok {
		return nil, errors.New("no key fits its signature")
	}
	var claims map[string]json.RawMessage
	if json.Unmarshal(payload, &claims) != nil {
		return nil, errors.New("its claims are no JSON")
	}
	return claims, m.check(claims)
}

// signedBy returns what a token says, if one of these keys has signed it.
func signedBy(t *jose.JSONWebSignature, keys []jose.JSONWebKey) ([]byte, bool) {
	for _, k := range keys {
		if !fits(k, t.Signatures[0].Header) {
			continue
		}
		if payload, err := t.Verify(k.Key); err == nil {
			return payload, true
		}
	}
	return nil, false
}

// check looks at the claims of RFC 7519, section 4.1.
func (m signed) check(claims map[string]json.RawMessage) error {
	var issuer string
	if json.Unmarshal(claims["iss"], &issuer) != nil || issuer != m.issuer {
		return errors.New("its issuer is another than rest.jwt.expected.issuer")
	}
	for _, audience := range texts(claims["aud"]) {
		if slices.Contains(m.audiences, audience) {
			return m.checkTime(claims)
		}
	}
	return errors.New("its audience is none of rest.jwt.expected.audience")
}

func (m signed) checkTime(claims map[string]json.RawMessage) error {
	now := m.now()
	expires, ok := moment(claims["exp"])
	switch {
	case !ok:
		return errors.New("it does not say when it expires")
	case !now.Before(expires.Add(m.skew)):
		return errors.New("it has expired")
	}
	for _, name := range []string{"nbf", "iat"} {
		raw, given := claims[name]
		from, ok := moment(raw)
		if given && (!ok || now.Add(m.skew).Before(from)) {
			return errors.New("it is not valid yet, or its claim " + name + " is no time")
		}
	}
	return nil
}

// moment reads seconds since 1970, which may have a fraction.
func moment(raw json.RawMessage) (time.Time, bool) {
	var seconds float64
	if len(raw) == 0 || json.Unmarshal(raw, &seconds) != nil || seconds < 0 || seconds > 1<<40 {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(seconds * 1000)), true
}

// texts reads a text or a list of texts.
func texts(raw json.RawMessage) (all []string) {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}
	}
	_ = json.Unmarshal(raw, &all) // What is no list names nobody.
	return all
}

// words reads a list of texts, or a text of words as scopes are written.
func words(raw json.RawMessage) []string {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return strings.Fields(one)
	}
	return texts(raw)
}
