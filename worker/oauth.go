package worker

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
)

// The limits of tokens: how large an answer of an endpoint or a file may be, how long an
// endpoint may take unless sasl.login.read.timeout.ms says otherwise, and which part of a
// token's life it is used for before the next one is fetched.
const (
	tokenBytes   = 64 << 10
	tokenTimeout = 10 * time.Second
	tokenPart    = 0.8
)

// bearer reads the settings of OAUTHBEARER (KIP-768): a token in the JAAS line, a file that
// holds one, or an endpoint that gives one for the client's own credentials (RFC 6749,
// section 4.4).
func (r *clientReader) bearer(options map[string]string) sasl.Mechanism {
	extensions := map[string]string{}
	for name, value := range options {
		if key, ok := strings.CutPrefix(name, "extension_"); ok {
			extensions[key] = value
		}
	}
	with := func(get func(context.Context) (string, error)) sasl.Mechanism {
		return oauth.Oauth(func(ctx context.Context) (oauth.Auth, error) {
			token, err := get(ctx)
			return oauth.Auth{Token: token, Extensions: extensions}, err
		})
	}
	const endpoint = "sasl.oauthbearer.token.endpoint.url"
	address := r.text(endpoint, "")
	if token := options["token"]; token != "" && address == "" {
		return with(func(context.Context) (string, error) { return token, nil })
	}
	u, err := url.Parse(address)
	switch {
	case address == "":
		r.fault("sasl.jaas.config", `OAUTHBEARER needs clientId="…" clientSecret="…" here and %s, or token="…" here`, endpoint)
	case err != nil || u.Scheme == "file" && u.Host != "" || u.User != nil:
		r.fault(endpoint, "it is of no use as an address")
	case u.Scheme == "file":
		return with(func(context.Context) (string, error) { return tokenFile(u.Path) })
	case u.Scheme != "https":
		r.fault(endpoint, "credentials and tokens would go over the network in the clear → use an https:// address")
	default:
		if source := r.tokenSource(address, options); source != nil {
			return with(source.get)
		}
	}
	return nil
}

// tokenFile reads the token of a file, which others write anew before it expires.
func tokenFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, tokenBytes))
	return strings.TrimSpace(string(data)), err
}

// tokenSource fetches tokens from an endpoint, and keeps one for most of its life.
type tokenSource struct {
	address, id, secret, scope string
	http                       *http.Client

	mu    sync.Mutex // Guards the following.
	token string
	until time.Time
}

func (r *clientReader) tokenSource(address string, options map[string]string) *tokenSource {
	first := func(names ...string) string {
		for _, name := range names {
			if text := r.text(name, options[name]); text != "" {
				return text
			}
		}
		return ""
	}
	s := &tokenSource{
		address: address, id: first("sasl.oauthbearer.client.credentials.client.id", "clientId"),
		secret: first("sasl.oauthbearer.client.credentials.client.secret", "clientSecret"), scope: first("sasl.oauthbearer.scope", "scope"),
	}
	if s.id == "" || s.secret == "" {
		r.fault("sasl.jaas.config", `clientId and clientSecret are missing → write it as org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required clientId="…" clientSecret="…";`)
		return nil
	}
	wait := tokenTimeout
	if n, ok := r.number("sasl.login.read.timeout.ms"); ok && n > 0 {
		wait = time.Duration(n) * time.Millisecond
	}
	roots := r.tls() // The trust store counts for the endpoint as well.
	if roots == nil {
		return nil
	}
	s.http = &http.Client{
		Timeout:   wait,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots.RootCAs, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment},
		// The secret is for this endpoint and for no other that it may name.
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the endpoint of tokens sends elsewhere")
		},
	}
	return s
}

// get returns a token. Its errors repeat nothing of what the endpoint has said: that could
// be anything.
func (s *tokenSource) get(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token != "" && time.Now().Before(s.until) {
		return s.token, nil
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if s.scope != "" {
		form.Set("scope", s.scope)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.address, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.SetBasicAuth(s.id, s.secret)
	resp, err := s.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("the endpoint of tokens does not answer: %w", err)
	}
	defer resp.Body.Close()
	var said struct {
		Token   string  `json:"access_token"`
		Seconds float64 `json:"expires_in"`
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, tokenBytes)).Decode(&said)
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the endpoint of tokens answers %d", resp.StatusCode)
	}
	if err != nil || said.Token == "" {
		return "", errors.New("the endpoint of tokens gives no access_token")
	}
	s.token, s.until = said.Token, time.Now().Add(time.Duration(said.Seconds*tokenPart*float64(time.Second)))
	return s.token, nil
}
