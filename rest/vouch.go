package rest

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tidemill/tidemill/rest/auth"
	"github.com/tidemill/tidemill/worker"
)

// A request that is sent on to another worker carries who sent it: the worker that asked
// them vouches for it with the key by which the workers of the group sign requests to each
// other (KIP-507). What is signed is good for one request, within a short time. Workers of
// Kafka Connect pass over it, and go by the header Authorization, which is sent on as well.

// The headers by which a worker vouches for somebody.
const (
	voucherHeader = "X-Tidemill-Voucher"
	vouchedHeader = "X-Tidemill-Voucher-Signature"
)

// voucherLife is for how long a voucher is good: longer than a request is on its way, and
// clocks of machines are apart.
const voucherLife = 30 * time.Second

// voucherBegin sets vouchers apart from all else that is signed with the key.
const voucherBegin = "tidemill voucher 1\n"

// voucher says who sends which request.
type voucher struct {
	User    string   `json:"user"`
	Groups  []string `json:"groups,omitempty"`
	How     string   `json:"how"`
	Method  string   `json:"method"`
	URI     string   `json:"uri"`
	Body    string   `json:"body"`    // The SHA-256 digest, in hexadecimal digits.
	Expires int64    `json:"expires"` // Milliseconds since 1970.
	Nonce   string   `json:"nonce"`
}

func bodyDigest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// vouch adds to a request that is sent on who has sent it.
func (s *Server) vouch(on *http.Request, who *auth.Principal, body []byte) {
	if s.gate.Open() || who == nil {
		return
	}
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // It never fails.
	text, err := json.Marshal(voucher{
		User: who.Name, Groups: who.Groups, How: who.Method, Method: on.Method, URI: on.URL.RequestURI(), Body: bodyDigest(body),
		Expires: time.Now().Add(voucherLife).UnixMilli(), Nonce: hex.EncodeToString(nonce),
	})
	if err != nil {
		return
	}
	signed, err := s.o.Herder.Sign(append([]byte(voucherBegin), text...))
	if err != nil {
		return // The other worker asks by itself then.
	}
	on.Header.Set(voucherHeader, base64.StdEncoding.EncodeToString(text))
	on.Header.Set(vouchedHeader, signed.Algorithm+" "+signed.Value)
}

// vouched returns who sends a request according to another worker, nil when none vouches.
func (s *Server) vouched(r *http.Request, read func() ([]byte, error)) (*auth.Principal, error) {
	given := r.Header.Get(voucherHeader)
	if given == "" {
		return nil, nil
	}
	text, err := base64.StdEncoding.DecodeString(given)
	if err != nil {
		return nil, errors.New("the voucher is no base64")
	}
	algorithm, value, _ := strings.Cut(r.Header.Get(vouchedHeader), " ")
	if err := s.o.Herder.Verify(append([]byte(voucherBegin), text...), &worker.Signature{Value: value, Algorithm: algorithm}); err != nil {
		return nil, err
	}
	var v voucher
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, errors.New("the voucher is no JSON")
	}
	body, err := read()
	if err != nil {
		return nil, err
	}
	expires := time.UnixMilli(v.Expires)
	switch {
	case v.Method != r.Method || v.URI != r.URL.RequestURI() || v.Body != bodyDigest(body):
		return nil, errors.New("the voucher is for another request")
	case time.Now().After(expires) || time.Until(expires) > 2*voucherLife:
		return nil, errors.New("the voucher has expired, or the clocks of the workers are apart")
	case !s.used.first(v.Nonce, expires):
		return nil, errors.New("the voucher was used before")
	}
	return s.gate.Known(v.User, v.Groups, v.How), nil
}

// readAhead reads a request's body and leaves it to be read again.
func (s *Server) readAhead(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(s.bodyTimeout)) // As for every body.
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.maxBody))
	if err != nil {
		return nil, err
	}
	_ = control.SetReadDeadline(time.Time{})
	r.Body = io.NopCloser(bytes.NewReader(data))
	return data, nil
}

// nonces are those of vouchers that were used and have not expired.
type nonces struct {
	mu   sync.Mutex // Guards used.
	used map[string]time.Time
}

// first tells whether a voucher is used for the first time. Only workers of the group make
// new ones, so there are not many.
func (n *nonces) first(nonce string, expires time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for other, end := range n.used {
		if time.Now().After(end) {
			delete(n.used, other)
		}
	}
	if _, seen := n.used[nonce]; seen || nonce == "" {
		return false
	}
	if n.used == nil {
		n.used = map[string]time.Time{}
	}
	n.used[nonce] = expires
	return true
}
