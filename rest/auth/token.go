package auth

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

func tokenKeys() []connect.ConfigKey {
	return []connect.ConfigKey{
		{Name: "rest.token.file", Optional: true, Importance: connect.High, Group: "Access",
			Doc: "File of name:digest lines of bearer tokens, as tidemill user token writes them. It is read again when it changes."},
	}
}

// tokenPrefix begins every token, so that one that was left lying about is recognized.
const tokenPrefix = "tdm_"

// NewToken returns a token, and the line that makes it known: its SHA-256 digest in
// hexadecimal digits. A token has 256 random bits, so its digest need not be slow.
func NewToken(name string) (token, line string, err error) {
	if err := checkUser(name); err != nil {
		return "", "", err
	}
	random := make([]byte, 32)
	_, _ = rand.Read(random) // It never fails.
	token = tokenPrefix + base64.RawURLEncoding.EncodeToString(random)
	sum := sha256.Sum256([]byte(token))
	return token, name + ":" + hex.EncodeToString(sum[:]), nil
}

// tokens asks for a token of a file.
type tokens struct {
	file *watched[map[[sha256.Size]byte]string]
}

func newTokens(s connect.Settings, report func(string, error)) (Method, error) {
	path := s.String("rest.token.file")
	if path == "" {
		return nil, nil
	}
	file, err := watch(path, parseTokens, report)
	if err != nil {
		e := connect.ConfigError("rest.token.file", "the file of tokens cannot be used")
		e.Cause, e.Mend = err, "write it with tidemill user token"
		return nil, e
	}
	return tokens{file}, nil
}

// parseTokens reads name:digest lines; one name may have several, so that a token can be
// replaced without a gap.
func parseTokens(data []byte) (map[[sha256.Size]byte]string, error) {
	all := map[[sha256.Size]byte]string{}
	number := 0
	for line := range bytes.Lines(data) {
		number++
		text := strings.TrimSpace(string(line))
		if text == "" || text[0] == '#' {
			continue
		}
		name, digest, _ := strings.Cut(text, ":")
		sum, err := hex.DecodeString(digest)
		if err != nil || len(sum) != sha256.Size || checkUser(name) != nil {
			return nil, fmt.Errorf("line %d is not of the form name:digest, of which the digest has 64 hexadecimal digits", number)
		}
		all[[sha256.Size]byte(sum)] = name
	}
	if len(all) == 0 {
		return nil, errors.New("it names no token")
	}
	return all, nil
}

// Name implements Method.
func (tokens) Name() string { return "token" }

// Challenge implements Method.
func (tokens) Challenge() string { return bearerChallenge }

// Identify implements Method. What is looked up is the digest, so the time it takes tells
// nothing of the tokens.
func (t tokens) Identify(r *http.Request) (*Principal, error) {
	token, ok := bearer(r)
	if !ok || !strings.HasPrefix(token, tokenPrefix) {
		return nil, nil
	}
	if name, known := t.file.get()[sha256.Sum256([]byte(token))]; known {
		return &Principal{Name: name}, nil
	}
	return nil, errors.New("the token is not known")
}

// bearerChallenge is the challenge of RFC 6750, section 3.
const bearerChallenge = `Bearer realm="tidemill"`

// bearer returns the token of a request (RFC 6750, section 2.1).
func bearer(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), ok && strings.EqualFold(scheme, "Bearer")
}
