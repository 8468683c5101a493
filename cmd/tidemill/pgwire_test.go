package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/devstack"
)

// TestDevAnswersPsql: `tidemill dev` says how psql asks it, and answers.
func TestDevAnswersPsql(t *testing.T) {
	ctx := timeout(t, 2*time.Minute)
	ports := freePorts(t, 4)
	dev := launch(t, "dev", "--data-dir", t.TempDir(), "--rest-port", fmt.Sprint(ports[0]), "--kafka-port", fmt.Sprint(ports[1]), "--registry-port", fmt.Sprint(ports[2]), "--pgwire-port", fmt.Sprint(ports[3]))
	dev.waitHealthy(ctx, fmt.Sprintf("http://127.0.0.1:%d", ports[0]))
	dir, _, err := devstack.FindPostgres(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	said := fmt.Sprintf("psql -h 127.0.0.1 -p %d", ports[3])
	err = until(ctx, "the line about psql, and SQL", func() (bool, error) {
		if !strings.Contains(dev.stderr.String(), said) {
			return false, nil
		}
		out, err := exec.CommandContext(ctx, filepath.Join(dir, "psql"), append(strings.Fields(said)[1:], "-X", "-c", "SHOW STREAMS")...).CombinedOutput()
		if err != nil && !strings.Contains(string(out), "statement log") {
			return false, fmt.Errorf("%w\n%s", err, out)
		}
		return strings.Contains(string(out), "(0 rows)"), nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPgwireSettings: what cannot be listened to is told before anything starts.
func TestPgwireSettings(t *testing.T) {
	for listeners, want := range map[string]string{"127.0.0.1:1": "there is no SQL engine", "somewhere": "host:port"} {
		settings := exactlyOnceSettings(t, "127.0.0.1:1", "http://127.0.0.1:0")
		appendTo(t, settings, "pgwire.listeners="+listeners+"\n")
		_, said, code := tell(t, nil, "", "worker", "-c", settings)
		if code != exitBadInput || !strings.Contains(said, want) {
			t.Errorf("%s: %d %s", listeners, code, said)
		}
	}
	settings := exactlyOnceSettings(t, "127.0.0.1:1", "http://127.0.0.1:0")
	appendTo(t, settings, "pgwire.listeners=0.0.0.0:1\nksql.service.id=x\n")
	if _, said, code := tell(t, nil, "", "worker", "-c", settings); code != exitBadInput || !strings.Contains(said, "nobody is asked who they are") {
		t.Errorf("%d %s", code, said)
	}
}
