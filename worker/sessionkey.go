package worker

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/kafkalog"
)

// Workers of a group send each other requests that nobody else may send: task
// configurations and the shutting out of producers. They are signed with a key that the
// leader writes to the config topic and renews (KIP-507), so whoever may read that topic
// may sign.

// Signature is how an internal request is signed: the values of its headers
// X-Connect-Authorization and X-Connect-Request-Signature-Algorithm.
type Signature struct{ Value, Algorithm string }

// The headers of internal requests.
const (
	signatureHeader = "X-Connect-Authorization"
	algorithmHeader = "X-Connect-Request-Signature-Algorithm"
)

// sessionKeyName is the key of the config topic's record of the session key.
const sessionKeyName = "session-key"

// sessionKey is its value.
type sessionKey struct {
	Key       []byte `json:"key"` // As base64.
	Algorithm string `json:"algorithm"`
	Created   int64  `json:"creation-timestamp"` // Milliseconds since the epoch.
}

// macs are the algorithms of signatures, under Java's names.
var macs = map[string]func() hash.Hash{"HmacSHA1": sha1.New, "HmacSHA256": sha256.New, "HmacSHA384": sha512.New384, "HmacSHA512": sha512.New}

func (s *configState) applySessionKey(value []byte) {
	var key sessionKey
	if json.Unmarshal(value, &key) == nil && len(key.Key) > 0 {
		s.key = &key
	}
}

// key returns the newest session key, nil when there is none.
func (h *Herder) key() *sessionKey {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state.key
}

// keyRetry is when the writing of a key is tried again.
const keyRetry = 5 * time.Second

// keepKey has the leader write a session key when there is none, and a new one when it is
// old, until ctx ends.
func (h *Herder) keepKey(ctx context.Context) {
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		h.mu.Lock()
		moved := h.moved
		h.mu.Unlock()
		if h.leads() {
			wait, err := h.renewKey(ctx)
			if err != nil && ctx.Err() == nil {
				h.rt.log.Warn("the key between workers cannot be renewed, trying again", "error", err)
				wait = keyRetry
			}
			again.Reset(wait)
		}
		select {
		case <-moved:
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

// renewKey writes a new key if one is needed, and returns how long the key is good for.
func (h *Herder) renewKey(ctx context.Context) (time.Duration, error) {
	s := h.rt.settings
	life, algorithm := s.Duration("inter.worker.key.ttl.ms"), s.String("inter.worker.key.generation.algorithm")
	rest := func() time.Duration {
		key := h.key()
		if key == nil || key.Algorithm != algorithm {
			return 0
		}
		return life - time.Since(time.UnixMilli(key.Created))
	}
	if left := rest(); left > 0 {
		return left, nil
	}
	ctx, cancel := context.WithTimeout(ctx, configWriteLimit)
	defer cancel()
	if err := h.leading(ctx); err != nil {
		return life, nil // Another leads by now.
	}
	unlock, err := h.lock(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	size := macs[algorithm]().Size()
	if bits := s.Int("inter.worker.key.size"); bits > 0 {
		size = (bits + 7) / 8
	}
	key := make([]byte, size)
	_, _ = rand.Read(key) // It never fails.
	entry := kafkalog.Entry{Key: []byte(sessionKeyName), Value: appendJSON(nil, sessionKey{Key: key, Algorithm: algorithm, Created: time.Now().UnixMilli()})}
	return life, h.write(ctx, "writing a session key to the config topic", entry)
}

func (k *sessionKey) sign(body []byte, algorithm string) []byte {
	m := hmac.New(macs[algorithm], k.Key)
	m.Write(body)
	return m.Sum(nil)
}

// checkSignature checks who has sent an internal request. Nobody is this worker itself.
func (h *Herder) checkSignature(body []byte, by *Signature) error {
	if by == nil {
		return nil
	}
	invalid := func(text string) error {
		return &connect.Error{Code: "request.invalid", Class: connect.ClassConfig, Message: text}
	}
	if by.Value == "" || by.Algorithm == "" {
		return invalid("Internal request missing required signature")
	}
	if macs[by.Algorithm] == nil || !slices.Contains(h.rt.settings.List("inter.worker.verification.algorithms"), by.Algorithm) {
		return invalid("This worker does not support the '" + by.Algorithm + "' key signing algorithm used by other workers. This worker is currently configured to use the algorithms of inter.worker.verification.algorithms.")
	}
	signature, err := base64.StdEncoding.DecodeString(by.Value)
	if err != nil {
		return invalid("Internal request contained a signature that is no base64")
	}
	key := h.key()
	if key == nil {
		return &connect.Error{Code: "worker.starting", Class: connect.ClassRetriable, Message: "This worker is still starting up and has not been able to read a session key from the config topic yet"}
	}
	if !hmac.Equal(signature, key.sign(body, by.Algorithm)) {
		return &connect.Error{Code: "request.forbidden", Class: connect.ClassConfig, Message: "Internal request contained invalid signature."}
	}
	return nil
}

// Sign signs what this worker vouches for to the others of its group. data begins with
// what sets it apart from the bodies of internal requests, which are JSON.
func (h *Herder) Sign(data []byte) (*Signature, error) {
	key := h.key()
	if key == nil {
		return nil, &connect.Error{Code: "worker.starting", Class: connect.ClassRetriable, Message: "the group has no session key yet"}
	}
	algorithm := h.rt.settings.String("inter.worker.signature.algorithm")
	return &Signature{Value: base64.StdEncoding.EncodeToString(key.sign(data, algorithm)), Algorithm: algorithm}, nil
}

// Verify checks that a worker of the group has signed data.
func (h *Herder) Verify(data []byte, by *Signature) error {
	if by == nil {
		by = &Signature{}
	}
	return h.checkSignature(data, by)
}

// PutTaskConfigs stores the task configurations that the worker of a connector has sent: a
// list of them, as JSON. It is for the leader to do; another worker gets the error
// [Elsewhere].
func (h *Herder) PutTaskConfigs(ctx context.Context, name string, body []byte, by *Signature) error {
	if err := h.checkSignature(body, by); err != nil {
		return err
	}
	var configs []connect.Config
	if err := json.Unmarshal(body, &configs); err != nil {
		return &connect.Error{Code: "config.syntax", Class: connect.ClassConfig, Message: "The task configurations are no list of objects", Cause: err}
	}
	if err := h.leading(ctx); err != nil {
		return err
	}
	if err := h.configs.ReadToEnd(ctx); err != nil {
		return err
	}
	if _, ok := h.desired(name); !ok {
		return notFound(name)
	}
	return h.storeTasks(ctx, name, configs)
}

// CatchUp returns when this worker knows what the config topic says now: what another has
// written for it is seen here as well.
func (h *Herder) CatchUp(ctx context.Context) error {
	if err := h.configs.ReadToEnd(ctx); err != nil {
		return err
	}
	return h.rt.statuses.journal.ReadToEnd(ctx)
}

// askLimit bounds the bytes of an answer from another worker that are read.
const askLimit = 64 << 10

// ask sends a signed request to another worker, and returns when what it has done is known
// here.
func (h *Herder) ask(ctx context.Context, method, address string, body []byte) error {
	failed := func(cause error, format string, args ...any) error {
		return &connect.Error{Code: "worker.leader", Class: connect.ClassRetriable, Place: address, Message: fmt.Sprintf(format, args...), Cause: cause}
	}
	key := h.key()
	if key == nil {
		return failed(nil, "the leader has written no session key yet")
	}
	ctx, cancel := context.WithTimeout(ctx, configWriteLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return failed(err, "the leader's address is of no use")
	}
	algorithm := h.rt.settings.String("inter.worker.signature.algorithm")
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(algorithmHeader, algorithm)
	req.Header.Set(signatureHeader, base64.StdEncoding.EncodeToString(key.sign(body, algorithm)))
	resp, err := h.rt.http.Do(req)
	if err != nil {
		return failed(err, "the leader does not answer")
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, askLimit)) // What came is told below.
	if resp.StatusCode >= http.StatusMultipleChoices {
		var said struct {
			Message string `json:"message"`
		}
		if json.Unmarshal(text, &said) != nil || said.Message == "" {
			said.Message = strings.TrimSpace(string(text))
		}
		return failed(nil, "the leader answers %d: %s", resp.StatusCode, said.Message)
	}
	return h.CatchUp(ctx)
}
