package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tidemill/tidemill/connect"
)

var b64 = base64.RawURLEncoding.EncodeToString

// issuer is somebody who signs tokens, with a key of each kind.
type issuer struct {
	rsa    *rsa.PrivateKey
	ec     *ecdsa.PrivateKey
	ed     ed25519.PrivateKey
	secret []byte
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{secret: []byte(strings.Repeat("s", minSecretBytes))}
	var err error
	if i.rsa, err = rsa.GenerateKey(rand.Reader, minRSABits); err != nil {
		t.Fatal(err)
	}
	if i.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if _, i.ed, err = ed25519.GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	return i
}

// document is the issuer's JWKS document.
func (i *issuer) document() string {
	point, _ := i.ec.PublicKey.Bytes()
	return fmt.Sprintf(`{"keys":[
		{"kty":"RSA","kid":"r","use":"sig","n":"%s","e":"AQAB"},
		{"kty":"EC","kid":"e","crv":"P-256","x":"%s","y":"%s"},
		{"kty":"OKP","kid":"o","crv":"Ed25519","x":"%s"},
		{"kty":"oct","kid":"s","alg":"HS256","k":"%s"},
		{"kty":"RSA","kid":"enc","use":"enc","n":"AQAB","e":"AQAB"},
		{"kty":"EC","kid":"k1","crv":"secp256k1","x":"AA","y":"AA"}]}`,
		b64(i.rsa.N.Bytes()), b64(point[1:33]), b64(point[33:]), b64(i.ed.Public().(ed25519.PublicKey)), b64(i.secret))
}

// token signs claims.
func (i *issuer) token(t *testing.T, head map[string]any, claims map[string]any) string {
	t.Helper()
	h, _ := json.Marshal(head)
	c, _ := json.Marshal(claims)
	content := b64(h) + "." + b64(c)
	sum := sha256.Sum256([]byte(content))
	var signature []byte
	var err error
	switch head["alg"] {
	case "RS256":
		signature, err = rsa.SignPKCS1v15(rand.Reader, i.rsa, crypto.SHA256, sum[:])
	case "PS256":
		signature, err = rsa.SignPSS(rand.Reader, i.rsa, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	case "ES256":
		var r, s *big.Int
		r, s, err = ecdsa.Sign(rand.Reader, i.ec, sum[:])
		signature = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	case "EdDSA":
		signature = ed25519.Sign(i.ed, []byte(content))
	case "HS256":
		m := hmac.New(sha256.New, i.secret)
		m.Write([]byte(content))
		signature = m.Sum(nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return content + "." + b64(signature)
}

func jwtSettings(file string, more ...string) connect.Config {
	raw := connect.Config{"rest.jwt.keys.location": file, "rest.jwt.expected.audience": "tidemill,connect", "rest.jwt.expected.issuer": "https://id.example",
		"rest.roles": "ann=viewer; group:sre=admin"}
	for i := 0; i < len(more); i += 2 {
		raw[more[i]] = more[i+1]
	}
	return raw
}

func TestSignedTokens(t *testing.T) {
	i, now := newIssuer(t), time.Now()
	file := write(t, "keys.json", i.document(), 1)
	g, err := gate(t, jwtSettings(file))
	if err != nil {
		t.Fatal(err)
	}
	good := map[string]any{"sub": "ann", "iss": "https://id.example", "aud": "tidemill", "exp": now.Add(time.Hour).Unix(), "iat": now.Unix()}
	claims := func(over map[string]any) map[string]any {
		all := maps.Clone(good)
		for name, v := range over {
			if all[name] = v; v == nil {
				delete(all, name)
			}
		}
		return all
	}
	ask := func(what, token, want string) *Principal {
		t.Helper()
		return check(t, g, what, asking("Bearer "+token), want)
	}
	for kid, algorithm := range map[string]string{"r": "RS256", "e": "ES256", "o": "EdDSA", "": "PS256"} {
		ask(algorithm, i.token(t, map[string]any{"alg": algorithm, "kid": kid}, good), "ann")
	}
	rs := map[string]any{"alg": "RS256"}
	for what, over := range map[string]map[string]any{
		"in a list":     {"aud": []string{"other", "connect"}},
		"clocks apart":  {"exp": now.Add(-time.Second).Unix(), "nbf": now.Add(20 * time.Second).Unix()},
		"with fraction": {"exp": float64(now.Add(time.Hour).UnixMilli()) / 1000},
	} {
		ask(what, i.token(t, rs, claims(over)), "ann")
	}
	for what, over := range map[string]map[string]any{
		"expired": {"exp": now.Add(-time.Minute).Unix()}, "without an end": {"exp": nil}, "an end that is text": {"exp": "9999999999"}, "an end beyond time": {"exp": 1e300},
		"not yet": {"nbf": now.Add(time.Hour).Unix()}, "made in the future": {"iat": now.Add(time.Hour).Unix()}, "a beginning that is text": {"nbf": "1"},
		"another audience": {"aud": "other"}, "no audience": {"aud": nil}, "an audience that is none": {"aud": 7},
		"another issuer": {"iss": "https://id.example.evil"}, "no issuer": {"iss": nil}, "nobody": {"sub": nil}, "an empty name": {"sub": ""}, "a name that is none": {"sub": 7},
	} {
		ask(what, i.token(t, rs, claims(over)), "")
	}
	if p := ask("groups", i.token(t, rs, claims(map[string]any{"sub": "eve", "groups": []string{"sre"}})), "eve"); !p.MayAll(Admin) {
		t.Error("a group counts for nothing")
	}
	if p := ask("groups as words", i.token(t, rs, claims(map[string]any{"sub": "eve", "groups": "dev sre"})), "eve"); !p.MayAll(Admin) {
		t.Error("a group counts for nothing")
	}
	if p := ask("a group's name", i.token(t, rs, claims(map[string]any{"sub": "group:sre"})), "group:sre"); p.MaySome(Viewer) {
		t.Error("somebody is a group by the name alone")
	}
	stranger := newIssuer(t)
	for what, token := range map[string]string{
		"another's signature":     stranger.token(t, rs, good),
		"another key's name":      i.token(t, map[string]any{"alg": "RS256", "kid": "e"}, good),
		"a path for a key":        i.token(t, map[string]any{"alg": "RS256", "kid": "../../../../dev/null"}, good),
		"the key of the header":   stranger.token(t, map[string]any{"alg": "RS256", "jwk": map[string]any{"kty": "RSA", "n": b64(stranger.rsa.N.Bytes()), "e": "AQAB"}}, good),
		"demands":                 i.token(t, map[string]any{"alg": "RS256", "crit": []string{"exp"}}, good),
		"secret, not allowed":     i.token(t, map[string]any{"alg": "HS256"}, good),
		"none":                    i.token(t, map[string]any{"alg": "none"}, good),
		"nOnE":                    i.token(t, map[string]any{"alg": "nOnE"}, good),
		"no algorithm":            i.token(t, map[string]any{}, good),
		"an algorithm's relative": strings.Replace(i.token(t, rs, good), b64([]byte(`{"alg":"RS256"}`)), b64([]byte(`{"alg":"PS256"}`)), 1),
		"cut":                     strings.TrimRight(i.token(t, rs, good), "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"),
		"other claims":            strings.Replace(i.token(t, rs, good), b64mid(t, good), b64mid(t, claims(map[string]any{"sub": "root"})), 1),
		"no JSON":                 "e30.*.e30",
		"dots":                    "..",
		"long":                    strings.Repeat("a", maxTokenBytes) + ".b.c",
	} {
		ask(what, token, "")
	}
	// A key that is withdrawn counts no more, and another does at once.
	write(t, file, stranger.document(), 2)
	ask("withdrawn", i.token(t, rs, good), "")
	ask("the new key", stranger.token(t, rs, good), "ann")
}

func b64mid(t *testing.T, claims map[string]any) string {
	t.Helper()
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return b64(text)
}

// A public key is never taken for the secret of an HMAC, even where HMACs are allowed.
func TestKeysAreNotMixedUp(t *testing.T) {
	i := newIssuer(t)
	der, err := x509.MarshalPKIXPublicKey(&i.rsa.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	good := map[string]any{"sub": "ann", "iss": "https://id.example", "aud": "tidemill", "exp": time.Now().Add(time.Hour).Unix()}
	g, err := gate(t, jwtSettings(write(t, "key.pem", string(public), 1), "rest.jwt.algorithms", "RS256,HS256"))
	if err != nil {
		t.Fatal(err)
	}
	check(t, g, "signed", asking("Bearer "+i.token(t, map[string]any{"alg": "RS256"}, good)), "ann")
	for _, secret := range [][]byte{public, der, i.rsa.N.Bytes()} {
		i.secret = secret
		check(t, g, "signed with what is public", asking("Bearer "+i.token(t, map[string]any{"alg": "HS256"}, good)), "")
	}
	i.secret = []byte(strings.Repeat("k", minSecretBytes))
	g, err = gate(t, jwtSettings(write(t, "keys.json", i.document(), 1), "rest.jwt.algorithms", "HS256"))
	if err != nil {
		t.Fatal(err)
	}
	check(t, g, "a secret that is known", asking("Bearer "+i.token(t, map[string]any{"alg": "HS256"}, good)), "ann")
	check(t, g, "what is not allowed", asking("Bearer "+i.token(t, map[string]any{"alg": "RS256"}, good)), "")
}

func TestKeysThatAreRefused(t *testing.T) {
	i := newIssuer(t)
	small := fmt.Sprintf(`{"keys":[{"kty":"RSA","n":"%s","e":"AQAB"}]}`, b64(i.rsa.N.Bytes()[:128]))
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})
	for name, text := range map[string]string{
		"nothing": "", "no JSON": "keys", "no keys": `{"keys":[]}`, "small": small, "private": string(private),
		"short secret": `{"keys":[{"kty":"oct","k":"c2hvcnQ"}]}`, "no point": `{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`,
		"off the curve":   fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","x":"%s","y":"%s"}]}`, b64(make([]byte, 32)), b64(make([]byte, 32))),
		"a huge exponent": fmt.Sprintf(`{"keys":[{"kty":"RSA","n":"%s","e":"%s"}]}`, b64(i.rsa.N.Bytes()), b64(make([]byte, 3))),
	} {
		if _, err := gate(t, jwtSettings(write(t, "keys", text, 1))); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	file := write(t, "keys", i.document(), 1)
	for _, without := range []string{"rest.jwt.expected.audience", "rest.jwt.expected.issuer"} {
		raw := jwtSettings(file)
		delete(raw, without)
		if _, err := gate(t, raw); err == nil || connect.AsError(err).Place != without && !strings.Contains(err.Error(), without) {
			t.Errorf("without %s: %v", without, err)
		}
	}
	if _, err := gate(t, jwtSettings(file, "rest.jwt.algorithms", "RS256,none")); err == nil {
		t.Error("none is taken for an algorithm")
	}
}

// FuzzToken sees that no token makes the gate fail, or lets anybody in.
func FuzzToken(f *testing.F) {
	f.Add("e30.e30.e30")
	f.Add(b64([]byte(`{"alg":"EdDSA"}`)) + "." + b64([]byte(`{"sub":"a","aud":["x"],"exp":1e9}`)) + ".AA")
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	m := signed{algorithms: []jose.SignatureAlgorithm{"EdDSA", "RS256", "HS256"}, audiences: []string{"x"}, issuer: "i", subject: "sub", now: time.Now,
		keys: keyFile{&watched[[]jose.JSONWebKey]{path: "/nowhere", value: []jose.JSONWebKey{{Key: public}}}}}
	f.Fuzz(func(t *testing.T, token string) {
		if p, _ := m.Identify(asking("Bearer " + token)); p != nil {
			t.Errorf("%q lets in %s", token, p.Name)
		}
	})
}
