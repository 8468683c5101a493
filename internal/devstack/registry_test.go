package devstack_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/devstack"
)

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// TestRegistryKeepsItsDirectory registers a schema and finds it again after a
// restart; a second registry can take neither the directory nor the address.
func TestRegistryKeepsItsDirectory(t *testing.T) {
	dir := t.TempDir()
	first, err := devstack.StartRegistry("127.0.0.1:0", dir)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(first.URL()+"/subjects/s/versions", "application/json", strings.NewReader(`{"schema":"\"int\""}`))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	_ = resp.Body.Close()
	addr := strings.TrimPrefix(first.URL(), "http://")
	for code, place := range map[string][2]string{"devstack.dir.locked": {"127.0.0.1:0", dir}, "devstack.registry.port": {addr, ""}} {
		_, err := devstack.StartRegistry(place[0], place[1])
		var coded *connect.Error
		if !errors.As(err, &coded) || coded.Code != code {
			t.Errorf("got %v, want code %s", err, code)
		}
	}
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	second, err := devstack.StartRegistry(addr, dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, second.URL()+"/schemas/ids/1"); got != `{"schema":"\"int\""}` {
		t.Error(got)
	}
	if err := second.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := get(t, devstack.TestRegistry(t)+"/subjects"); got != "[]" {
		t.Error(got)
	}
}
