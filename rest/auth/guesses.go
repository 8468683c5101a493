package auth

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// Who gives a wrong password has freeGuesses of them, and then one more each guessEvery:
// from one address and for one name, so that nobody shuts out another. As many are
// remembered as maxGuessing; beyond that, what was heard of longest ago is forgotten.
const (
	freeGuesses = 10
	guessEvery  = 3 * time.Second
	maxGuessing = 4096
)

// guesses counts wrong passwords by whom they come from.
type guesses struct {
	now  func() time.Time
	mu   sync.Mutex // Guards from.
	from map[string]*guessing
}

// guessing is how many guesses somebody has left, and when that was reckoned.
type guessing struct {
	left float64
	at   time.Time
}

// find returns what somebody has left now, nil when it has never been wrong. It is
// called with mu held.
func (g *guesses) find(who string) *guessing {
	found := g.from[who]
	if found == nil {
		return nil
	}
	now := g.now()
	found.left = min(freeGuesses, found.left+now.Sub(found.at).Seconds()/guessEvery.Seconds())
	found.at = now
	return found
}

// may tells whether a password may be tried.
func (g *guesses) may(who string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	found := g.find(who)
	return found == nil || found.left >= 1
}

// wrong notes that a password was wrong.
func (g *guesses) wrong(who string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	found := g.find(who)
	if found == nil {
		if len(g.from) >= maxGuessing {
			g.forget()
		}
		found = &guessing{left: freeGuesses, at: g.now()}
		g.from[who] = found
	}
	found.left = max(0, found.left-1)
}

// forget makes room for another. It is called with mu held.
func (g *guesses) forget() {
	oldest := ""
	for who, one := range g.from {
		if oldest == "" || one.at.Before(g.from[oldest].at) {
			oldest = who
		}
	}
	delete(g.from, oldest)
}

// guesser is who gives a password, for the count of wrong ones.
func guesser(r *http.Request, name string) string {
	from, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		from = r.RemoteAddr
	}
	return from + " " + name
}
