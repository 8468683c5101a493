package worker

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/tidemill/tidemill/connect"
)

// TestInternalRequestsAreSigned checks signatures with the record of a key as Kafka Connect
// writes it, and the second test vector of RFC 4231.
func TestInternalRequestsAreSigned(t *testing.T) {
	settings, err := ConfigDef().Parse(connect.Config{"inter.worker.verification.algorithms": "HmacSHA256, HmacSHA512"})
	must(t, err)
	h := newHerder(Options{}, &runtime{settings: settings})
	body := []byte("what do ya want for nothing?")
	sum, err := hex.DecodeString("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
	must(t, err)
	valid := base64.StdEncoding.EncodeToString(sum)
	record := func(key string) {
		h.state.applySessionKey(fmt.Appendf(nil, `{"key":"%s","algorithm":"HmacSHA256","creation-timestamp":1700000000000}`, base64.StdEncoding.EncodeToString([]byte(key))))
	}
	check := func(name, code, value, algorithm string) {
		t.Helper()
		err := h.checkSignature(body, &Signature{Value: value, Algorithm: algorithm})
		if got := codeOf(err); got != code {
			t.Errorf("%s: %v, want code %q", name, err, code)
		}
	}
	check("before there is a key", "worker.starting", valid, "HmacSHA256")
	record("Jefe")
	check("signed", "", valid, "HmacSHA256")
	check("signed with the other algorithm", "", base64.StdEncoding.EncodeToString(h.key().sign(body, "HmacSHA512")), "HmacSHA512")
	check("no signature", "request.invalid", "", "HmacSHA256")
	check("no algorithm", "request.invalid", valid, "")
	check("an algorithm that is not accepted", "request.invalid", base64.StdEncoding.EncodeToString(h.key().sign(body, "HmacSHA1")), "HmacSHA1")
	check("an algorithm that there is not", "request.invalid", valid, "none")
	check("no base64", "request.invalid", "*", "HmacSHA256")
	check("part of a signature", "request.forbidden", valid[:8], "HmacSHA256")
	check("a signature by another algorithm's name", "request.forbidden", valid, "HmacSHA512")
	body[0] = 'W'
	check("another body", "request.forbidden", valid, "HmacSHA256")
	body[0] = 'w'
	record("renewed")
	check("the key before", "request.forbidden", valid, "HmacSHA256")
	for _, damaged := range []string{``, `{`, `{"key":""}`, `{"key":"*"}`, `{"key":7}`} {
		h.state.applySessionKey([]byte(damaged))
	}
	check("a damaged record changes nothing", "", base64.StdEncoding.EncodeToString(h.key().sign(body, "HmacSHA256")), "HmacSHA256")
	if err := h.checkSignature(body, nil); err != nil {
		t.Errorf("the worker itself: %v", err)
	}
}

// codeOf is the code of an error, empty for none.
func codeOf(err error) string {
	if err == nil {
		return ""
	}
	return connect.AsError(err).Code
}
