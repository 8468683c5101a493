package rest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/rest/auth"
)

func (s *Server) logAt(ctx context.Context, level int, message string, args ...any) {
	s.log.Log(ctx, slog.Level(level), message, args...)
}

// authenticate finds out who asks. What workers ask of each other is signed instead, which
// the worker itself checks, and a few routes may be open to everybody.
func (s *Server) authenticate(next http.Handler) http.Handler {
	open := s.o.Settings.List("rest.open.paths")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case isInternal(r):
		case (r.Method == http.MethodGet || r.Method == http.MethodHead) && slices.Contains(open, r.URL.Path):
			r = r.WithContext(auth.With(r.Context(), auth.Reader()))
		default:
			who, err := s.who(w, r)
			if err != nil {
				s.refuse(w, r, err)
				return
			}
			note(r.Context(), func(e *entry) { e.user, e.how = who.Name, who.Method })
			r = r.WithContext(auth.With(r.Context(), who))
		}
		next.ServeHTTP(w, r)
	})
}

// who returns who asks: somebody for whom another worker vouches, or who shows it.
func (s *Server) who(w http.ResponseWriter, r *http.Request) (*auth.Principal, error) {
	if s.gate.Open() {
		return auth.Anybody(), nil
	}
	who, err := s.vouched(r, func() ([]byte, error) { return s.readAhead(w, r) })
	if err == nil && who != nil {
		note(r.Context(), func(e *entry) { e.forwarded = true })
		return who, nil
	}
	if err != nil {
		return nil, err
	}
	return s.gate.Identify(r)
}

// refuse answers somebody who has not shown who they are. Why is for the log alone.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	note(r.Context(), func(e *entry) { e.refused = strings.ReplaceAll(err.Error(), "\n", ": ") })
	if errors.Is(err, auth.ErrTooMany) {
		w.Header().Set("Retry-After", "3")
		s.writeError(w, r, fail(http.StatusTooManyRequests, "Too many wrong passwords were given for this name → wait a few seconds"))
		return
	}
	for _, challenge := range s.gate.Challenges() {
		w.Header().Add("WWW-Authenticate", challenge)
	}
	s.writeError(w, r, fail(http.StatusUnauthorized, "User cannot access the resource."))
}

// allow tells by an error that somebody may not use a route.
func (s *Server) allow(r *http.Request, to route) error {
	connector := ""
	if strings.HasPrefix(to.path, "/connectors/{name}") {
		connector = r.PathValue("name")
	}
	note(r.Context(), func(e *entry) {
		e.action, e.role, e.connector, e.task = to.method+" "+to.path, to.role, connector, r.PathValue("task")
	})
	who := auth.From(r.Context())
	may := to.role == auth.Worker
	switch {
	case may:
	case to.whole:
		may = who.MayAll(to.role)
	case connector != "":
		may = who.May(to.role, connector)
	default:
		may = who.MaySome(to.role)
	}
	if may {
		return nil
	}
	return forbidden(r, to.role, connector)
}

// allowOn tells by an error that somebody may not do what needs the role to a connector
// that the request's body names.
func allowOn(r *http.Request, role auth.Role, connector string) error {
	note(r.Context(), func(e *entry) { e.connector = connector })
	if auth.From(r.Context()).May(role, connector) {
		return nil
	}
	return forbidden(r, role, connector)
}

func forbidden(r *http.Request, role auth.Role, connector string) error {
	if role == auth.Undecided {
		role = auth.Admin
	}
	text := "This needs the role " + role.String()
	if connector != "" {
		text += " for the connector " + connector
	} else {
		text += ", for more than the connectors it is given for"
	}
	note(r.Context(), func(e *entry) { e.refused = "the role does not allow it" })
	return fail(http.StatusForbidden, text+" → an administrator of the worker gives it in rest.roles")
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

// checkHost refuses a foreign host name on a loopback listener, and on every other one when
// names are set: a page whose name was made to point here would ask with its own.
// Addresses, localhost and the name by which other workers reach this one are always right;
// rest.allowed.hosts adds names.
func (s *Server) checkHost(l listener, next http.Handler) http.Handler {
	names := s.o.Settings.List("rest.allowed.hosts")
	if !l.loopback() && len(names) == 0 {
		return next
	}
	allowed := []string{"localhost", strings.ToLower(s.o.Settings.String("rest.host.name"))}
	for _, name := range append(names, s.o.Settings.Config()["rest.advertised.host.name"]) {
		if name != "" {
			allowed = append(allowed, strings.ToLower(name))
		}
	}
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
