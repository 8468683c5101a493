package devstack

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
)

// FreePort returns a TCP port that is free on the loopback interface now, and that the
// system gives to nobody by itself: it is below the range from which ports are given to
// connections and to servers that ask for any. So whoever is started on it finds it free,
// also after having been away for a while.
func FreePort() (int, error) {
	const lowest, tries = 10_000, 1000
	for range tries {
		port := lowest + rand.IntN(firstGiven()-lowest)
		if free(port) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("looking for a free port: none of %d between %d and %d is", tries, lowest, firstGiven())
}

// firstGiven returns the lowest port that the system gives away.
// Source: https://docs.kernel.org/networking/ip-sysctl.html, ip_local_port_range.
func firstGiven() int {
	const usual, least = 32_768, 12_000
	first := usual
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if _, err := fmt.Sscan(string(text), &first); err != nil {
			return usual
		}
	}
	return max(first, least)
}

func free(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}
