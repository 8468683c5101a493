package query

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// Remote says how the instances of an application ask each other for rows.
type Remote struct {
	// Advertise is the host:port at which others reach this process; where it listens
	// when empty.
	Advertise string
	// Listen is the host:port to listen on: when empty, 127.0.0.1 and the port of
	// Advertise, or a free one.
	Listen string
	// Secret is the same for all instances. Questions are signed with it, and never
	// contain it. An address that other machines reach needs it, or TLS that asks for
	// the certificates of clients.
	Secret string
	// TLS is used on both sides, when it is set: the certificate shown, the authorities
	// trusted, and whether clients have to show theirs.
	TLS *tls.Config
}

// path is where questions go.
const path = "/streams/v1/rows"

// signature is the header of a signed question: the time in milliseconds, a colon and the
// HMAC-SHA256 (RFC 2104) of path, time and body in hexadecimal digits.
const signature = "Tidemill-Signature"

// skew is how far the clocks of two instances may be apart.
const skew = 5 * time.Minute

// sign returns the signature of what is asked: for rows the path, for anything else the
// method, a space, and path and query as they are sent.
func (o *Remote) sign(what, ms string, body []byte) []byte {
	mac := hmac.New(sha256.New, []byte(o.Secret))
	mac.Write([]byte(what + "\n" + ms + "\n"))
	mac.Write(body)
	return mac.Sum(nil)
}

// signed tells whether a question comes from who knows the secret.
func (o *Remote) signed(what, header string, body []byte, now time.Time) bool {
	if o.Secret == "" {
		return true
	}
	ms, digits, _ := strings.Cut(header, ":")
	at, err := strconv.ParseInt(ms, 10, 64)
	if err != nil || now.Sub(time.UnixMilli(at)).Abs() > skew {
		return false
	}
	mac, err := hex.DecodeString(digits)
	return err == nil && hmac.Equal(mac, o.sign(what, ms, body))
}

// Open listens. Others reach the process at the address it returns.
func (o *Remote) Open(ctx context.Context) (l net.Listener, address string, err error) {
	listen := o.Listen
	if listen == "" {
		_, port, err := net.SplitHostPort(o.Advertise)
		if err != nil {
			port = "0"
		}
		listen = net.JoinHostPort("127.0.0.1", port)
	}
	host, _, _ := net.SplitHostPort(listen)
	ip := net.ParseIP(host)
	guarded := o.Secret != "" || o.TLS != nil && o.TLS.ClientAuth == tls.RequireAndVerifyClientCert
	if host != "localhost" && (ip == nil || !ip.IsLoopback()) && !guarded {
		return nil, "", &connect.Error{
			Code: "streams.remote.open", Class: connect.ClassConfig, Place: listen,
			Message: "other machines could read the stores here without being asked who they are",
			Mend:    "set a secret, or TLS that verifies clients; or listen on 127.0.0.1",
		}
	}
	var c net.ListenConfig
	if l, err = c.Listen(ctx, "tcp", listen); err != nil {
		return nil, "", &connect.Error{
			Code: "streams.remote.listen", Class: connect.ClassConfig, Place: listen,
			Message: "the address for questions of other instances cannot be used", Cause: err, Mend: "free it, or choose another",
		}
	}
	if address = o.Advertise; address == "" {
		address = l.Addr().String()
	}
	if o.TLS != nil {
		l = tls.NewListener(l, o.TLS)
	}
	return l, address, nil
}

// Peers asks other instances. It is used by any number of goroutines.
type Peers struct {
	remote *Remote
	client *http.Client

	ctx    context.Context // of requests for several callers
	stop   context.CancelFunc
	asking sync.WaitGroup // those who serve a line
	mu     sync.Mutex
	lines  map[lineKey]*line
}

// The times after which an instance counts as unreachable: until it begins to answer, and
// between two pieces of an answer.
const (
	beginWithin = 2 * time.Second
	goOnWithin  = 30 * time.Second
)

// Peers returns what asks others.
func (o *Remote) Peers() *Peers {
	ctx, stop := context.WithCancel(context.Background())
	return &Peers{remote: o, ctx: ctx, stop: stop, lines: map[lineKey]*line{}, client: &http.Client{
		// Where an instance is, is what the group says, and nobody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: beginWithin}).DialContext, TLSClientConfig: o.TLS, TLSHandshakeTimeout: beginWithin,
			ResponseHeaderTimeout: beginWithin, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute,
		},
	}}
}

// Close ends what is asked together, and idle connections.
func (p *Peers) Close() {
	p.stop()
	p.mu.Lock() // Nobody comes between the last one and the end.
	p.asking.Wait()
	p.mu.Unlock()
	p.client.CloseIdleConnections()
}

// ask asks an instance. What may go away by itself is an error of class ClassRetriable.
func (p *Peers) ask(ctx context.Context, in Instance, q *question, visit func(Row) error) error {
	if q.Op == opGet && q.AtLeast == nil && !q.Report {
		return p.get(ctx, in, q, visit)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	body, err := json.Marshal(q)
	if err != nil {
		return err
	}
	resp, err := p.send(ctx, in.Address, body)
	if err != nil {
		return unreachable(in, err)
	}
	defer resp.Body.Close()
	if !answers(resp) {
		return refused(in, resp)
	}
	stalled := time.AfterFunc(goOnWithin, stop)
	defer stalled.Stop()
	frames := frameReader{r: bufio.NewReaderSize(resp.Body, q.room())}
	for {
		row, end, at, err := frames.next()
		if end && err == nil {
			q.seen = at
			return nil
		}
		if err == nil {
			if q.Op == opGet { // The reader keeps it.
				row.Value = bytes.Clone(row.Value)
			}
			stalled.Stop() // The reader may take its time.
			err = visit(row)
			stalled.Reset(goOnWithin)
			if err != nil {
				return err
			}
			continue
		}
		return broken(in, err)
	}
}

// answers tells whether an answer is one to a question.
func answers(resp *http.Response) bool {
	return resp.StatusCode == http.StatusOK && resp.Header.Get("Content-Type") == answerType
}

// send sends a question.
func (p *Peers) send(ctx context.Context, address string, body []byte) (*http.Response, error) {
	scheme := "http://"
	if p.remote.TLS != nil {
		scheme = "https://"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, scheme+address+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", questionType)
	if p.remote.Secret != "" {
		ms := strconv.FormatInt(time.Now().UnixMilli(), 10)
		req.Header.Set(signature, ms+":"+hex.EncodeToString(p.remote.sign(path, ms, body)))
	}
	return p.client.Do(req)
}

func (in *Instance) place() string { return "instance " + in.Name + " at " + in.Address }

func unreachable(in Instance, err error) error {
	return &connect.Error{
		Code: "streams.remote.unreachable", Class: connect.ClassRetriable, Place: in.place(),
		Message: "the instance does not answer", Cause: err,
		Mend: "check that it runs and that its advertised address can be reached from here",
	}
}

// refused says what an instance answers that does not answer the question.
func refused(in Instance, resp *http.Response) error {
	e := &connect.Error{
		Code: "streams.remote.refused", Class: connect.ClassConfig, Place: in.place(),
		Message: fmt.Sprintf("the instance refuses the question with status %d", resp.StatusCode),
		Mend:    "give all instances the same secret, clocks that agree and the same version",
	}
	switch {
	case resp.StatusCode == http.StatusServiceUnavailable:
		e.Class, e.Mend = connect.ClassRetriable, "ask again"
	case resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNotFound:
		e.Mend = "something else listens at the address that the instance advertises"
	}
	return e
}
