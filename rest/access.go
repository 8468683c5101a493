package rest

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

func (s *Server) logAt(ctx context.Context, level int, message string, args ...any) {
	s.log.Log(ctx, slog.Level(level), message, args...)
}

// users are the names and the hashes of the passwords of those who may ask.
type users map[string][sha256.Size]byte

func parseUsers(c connect.Settings) (users, error) {
	text := c.String("rest.basic.auth.users")
	for _, class := range c.List("rest.extension.classes") {
		if !strings.HasSuffix(class, "BasicAuthSecurityRestExtension") {
			return nil, connect.ConfigError("rest.extension.classes", "the REST extension %s is not known; only BasicAuthSecurityRestExtension is", class)
		}
		if text == "" {
			e := connect.ConfigError("rest.extension.classes", "basic authentication is asked for, and there are no users")
			e.Mend = "set rest.basic.auth.users to user:password pairs"
			return nil, e
		}
	}
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	all := users{}
	for pair := range strings.SplitSeq(text, ",") {
		name, password, ok := strings.Cut(strings.TrimSpace(pair), ":")
		if !ok || name == "" || password == "" {
			// The pair itself is not named: it may be half a password.
			return nil, connect.ConfigError("rest.basic.auth.users", "an entry is not of the form user:password")
		}
		all[name] = sha256.Sum256([]byte(password))
	}
	return all, nil
}

// knows compares in a time that tells nothing about the password.
func (u users) knows(name, password string) bool {
	want, found := u[name]
	got := sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1 && found
}

// authenticate asks for a name and a password on every route but those that workers use
// among themselves, if there are users.
// Without users, credentials that a client sends are ignored.
func (s *Server) authenticate(next http.Handler) http.Handler {
	if len(s.users) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Workers have no password for each other: they sign.
		if name, password, given := r.BasicAuth(); !isInternal(r) && (!given || !s.users.knows(name, password)) {
			w.Header().Set("WWW-Authenticate", `Basic realm="tidemill", charset="UTF-8"`)
			s.writeError(w, r, fail(http.StatusUnauthorized, "User cannot access the resource."))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// crossOrigin refuses requests that would change something and that a page of
// another origin makes a browser send, unless access.control.allow.origin names it;
// for named origins it answers what CORS asks.
func (s *Server) crossOrigin(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	origins := splitTrim(s.o.Settings.String("access.control.allow.origin"))
	for _, origin := range origins {
		if origin != "*" {
			// A malformed origin is never equal to that of a request.
			_ = protection.AddTrustedOrigin(origin)
		}
	}
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.writeError(w, r, fail(http.StatusForbidden, "Requests from pages of another origin are refused → name it in access.control.allow.origin"))
	}))
	inner := protection.Handler(next)
	if len(origins) == 0 {
		return inner
	}
	methods := s.o.Settings.String("access.control.allow.methods")
	if methods == "" {
		methods = "GET,POST,HEAD"
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := r.Header.Get("Origin")
		if origin != "" && (slices.Contains(origins, origin) || slices.Contains(origins, "*")) {
			w.Header().Set("Access-Control-Allow-Origin", origin)
			w.Header().Add("Vary", "Origin")
			if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
				w.Header().Set("Access-Control-Allow-Methods", methods)
				w.Header().Set("Access-Control-Allow-Headers", "Content-Type, Accept, Authorization")
				w.WriteHeader(http.StatusOK)
				return
			}
		}
		inner.ServeHTTP(w, r)
	})
}

// checkHost refuses a foreign host name on a loopback listener: a page whose name
// was made to point here would ask with its own. Addresses and localhost are always
// right, rest.allowed.hosts adds names.
func (s *Server) checkHost(next http.Handler) http.Handler {
	allowed := append([]string{"localhost", strings.ToLower(s.o.Settings.String("rest.host.name"))}, s.o.Settings.List("rest.allowed.hosts")...)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := strings.ToLower(r.Host)
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		_, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if err != nil && !slices.Contains(allowed, host) && !strings.HasSuffix(host, ".localhost") {
			s.writeError(w, r, fail(http.StatusMisdirectedRequest, "This server is not "+host+" → name it in rest.allowed.hosts"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func splitTrim(text string) (parts []string) {
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}
