package netns

import (
	"strings"
	"testing"
)

// TestOpenRefuses does nothing to the network of the machine that tests run on.
func TestOpenRefuses(t *testing.T) {
	if _, err := Open(); err == nil || !strings.HasPrefix(err.Error(), "netns.none: ") || !strings.Contains(err.Error(), "internal/testenv/netns/run") {
		t.Error(err)
	}
}
