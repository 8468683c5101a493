package devstack

import "testing"

// TestFreePortIsNotGivenAway takes only ports that can be listened on and that no
// connection is given.
func TestFreePortIsNotGivenAway(t *testing.T) {
	for range 50 {
		port, err := FreePort()
		if err != nil {
			t.Fatal(err)
		}
		if !free(port) || port >= firstGiven() {
			t.Errorf("port %d is not free or may be given to a connection: they begin at %d", port, firstGiven())
		}
	}
}
