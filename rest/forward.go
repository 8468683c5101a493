package rest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/tidemill/tidemill/rest/auth"
	"github.com/tidemill/tidemill/worker"
)

// A request that another worker of the group has to carry out is sent on to it as it came,
// and its answer sent back. The parameter forward counts the hops, as in Kafka Connect:
// the first worker adds forward=true, the second forward=false, and the third gives up.

// forwardPause is how long to wait before a worker that does not answer is looked for anew:
// another may lead the group soon.
const forwardPause = 200 * time.Millisecond

// keptBody is a body that can be read, and sent on with what was read of it.
type keptBody struct {
	io.ReadCloser
	read bytes.Buffer
}

func (b *keptBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read.Write(p[:n])
	return n, err
}

// answerAnywhere answers a request here or has another worker answer it. done tells that
// an answer was written.
func (s *Server) answerAnywhere(w http.ResponseWriter, req *http.Request, here func(*http.Request) (answer, error)) (a answer, done bool, err error) {
	kept := &keptBody{ReadCloser: req.Body}
	req.Body = kept
	for {
		a, err = here(req)
		there, ok := errors.AsType[*worker.Elsewhere](err)
		if !ok {
			return a, false, err
		}
		hop := "true"
		switch req.URL.Query().Get("forward") {
		case "true":
			hop = "false"
		case "false":
			return a, false, fail(http.StatusConflict, "Cannot complete request because of a conflicting operation (e.g. worker rebalance)")
		}
		resp, err := s.forward(req, there.URL, hop, kept.read.Bytes())
		if err == nil {
			s.sendBack(w, req, resp)
			return a, true, nil
		}
		// Only what has not reached the other worker may be tried again.
		if dial, ok := errors.AsType[*net.OpError](err); !ok || dial.Op != "dial" {
			return a, false, fail(http.StatusInternalServerError, "IO Error trying to forward REST request: "+err.Error())
		}
		select {
		case <-time.After(forwardPause):
		case <-req.Context().Done():
			return a, false, fail(http.StatusInternalServerError, "IO Error trying to forward REST request: "+err.Error())
		}
		copied := *req
		copied.Body = &keptBody{ReadCloser: io.NopCloser(bytes.NewReader(kept.read.Bytes()))}
		kept = copied.Body.(*keptBody)
		req = &copied
	}
}

// forward sends a request on.
func (s *Server) forward(req *http.Request, to, hop string, body []byte) (*http.Response, error) {
	query := req.URL.Query()
	query.Set("forward", hop)
	address := strings.TrimSuffix(to, "/") + req.URL.EscapedPath() + "?" + query.Encode()
	on, err := http.NewRequestWithContext(req.Context(), req.Method, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	on.Header.Set("User-Agent", "kafka-connect")
	for _, name := range []string{"Authorization", "Content-Type", "Accept", signatureHeader, algorithmHeader} {
		if v := req.Header.Get(name); v != "" {
			on.Header.Set(name, v)
		}
	}
	s.vouch(on, auth.From(req.Context()), body)
	return s.peers.Do(on)
}

// callerKey is under what the context of a request carries its Authorization header.
type callerKey struct{}

// Authorization returns the Authorization header of the request that a context belongs to,
// so that what is asked of another worker for it is asked in its name; empty for none.
func Authorization(ctx context.Context) string {
	text, _ := ctx.Value(callerKey{}).(string)
	return text
}

// sendBack writes another worker's answer.
func (s *Server) sendBack(w http.ResponseWriter, req *http.Request, resp *http.Response) {
	defer resp.Body.Close()
	// What was changed there is to be seen here. An answer that is late is better than none.
	_ = s.o.Herder.CatchUp(req.Context())
	for _, name := range []string{"Content-Type", "Content-Length", "Location", "Warning", "Retry-After", "Www-Authenticate"} {
		if v := resp.Header.Get(name); v != "" {
			w.Header().Set(name, v)
		}
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body) // One of the two ends may be gone; there is nobody left to tell.
}

// The headers by which workers sign requests to each other.
const (
	signatureHeader = "X-Connect-Authorization"
	algorithmHeader = "X-Connect-Request-Signature-Algorithm"
)

func signature(r *http.Request) *worker.Signature {
	return &worker.Signature{Value: r.Header.Get(signatureHeader), Algorithm: r.Header.Get(algorithmHeader)}
}

// putTaskConfigs takes the task configurations that another worker has worked out.
func (s *Server) putTaskConfigs(r *http.Request) (answer, error) {
	data, err := s.body(r)
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, s.o.Herder.PutTaskConfigs(r.Context(), r.PathValue("name"), data, signature(r))
}

// fence shuts out the former producers of a connector for another worker.
func (s *Server) fence(r *http.Request) (answer, error) {
	return answer{status: http.StatusNoContent}, s.o.Herder.Fence(r.Context(), r.PathValue("name"), signature(r))
}

// isInternal tells whether a request is one that workers sign.
func isInternal(r *http.Request) bool {
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), "/connectors/")
	name, what, _ := strings.Cut(strings.TrimSuffix(path, "/"), "/")
	return ok && name != "" && (r.Method == http.MethodPost && what == "tasks" || r.Method == http.MethodPut && what == "fence")
}

// peer is what workers ask of each other.
type peer interface {
	PutTaskConfigs(ctx context.Context, name string, body []byte, by *worker.Signature) error
	Fence(ctx context.Context, name string, by *worker.Signature) error
	CatchUp(ctx context.Context) error
	// Sign and Verify are for what a worker vouches for.
	Sign(data []byte) (*worker.Signature, error)
	Verify(data []byte, by *worker.Signature) error
}
