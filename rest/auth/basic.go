package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/tidemill/tidemill/connect"
)

func basicKeys() []connect.ConfigKey {
	return []connect.ConfigKey{
		{Name: "rest.basic.auth.file", Optional: true, Importance: connect.High, Group: "Access",
			Doc: "File of user:hash lines, hashed with bcrypt, as tidemill user add and htpasswd -B write them. It is read again when it changes."},
		{Name: "rest.basic.auth.users", Type: connect.TypePassword, Optional: true, Importance: connect.Medium, Group: "Access",
			Doc: "user:password pairs separated by commas, in the clear, best given as a reference such as ${file:/run/secrets/rest.properties:users}. rest.basic.auth.file is better."},
	}
}

// HashCost is how slow a password is to check: 2^HashCost rounds.
const HashCost = bcrypt.DefaultCost

// HashPassword returns the line of a user in the file of users.
func HashPassword(name, password string) (string, error) {
	if err := checkUser(name); err != nil {
		return "", err
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), HashCost)
	if err != nil {
		return "", fmt.Errorf("the password cannot be hashed: %w", err)
	}
	return name + ":" + string(hash), nil
}

// checkUser refuses names that could not be told from the rest of a line, or from the
// other names of rest.roles.
func checkUser(name string) error {
	if name == "" || name == everybody || strings.HasPrefix(name, groupPrefix) || strings.ContainsAny(name, ":;#\r\n\x00") || strings.TrimSpace(name) != name {
		return errors.New("a name has no colon, semicolon, # or space around it, is not empty and not *")
	}
	return nil
}

// basic asks for a name and a password.
type basic struct {
	clear   map[string][sha256.Size]byte // Of rest.basic.auth.users.
	hashed  *watched[map[string][]byte]  // Of rest.basic.auth.file; nil: there is none.
	nobody  []byte                       // The hash that the passwords of unknown names are compared with.
	slots   chan struct{}                // As many passwords are checked at a time.
	key     [sha256.Size]byte            // Of what is remembered.
	guesses guesses
	mu      sync.Mutex                   // Guards known.
	known   map[string][sha256.Size]byte // What was right last, so that it need not be checked slowly again.
}

func newBasic(s connect.Settings, report func(string, error)) (Method, error) {
	file, text := s.String("rest.basic.auth.file"), strings.TrimSpace(s.String("rest.basic.auth.users"))
	if file == "" && text == "" {
		return nil, nil
	}
	b := &basic{
		clear: map[string][sha256.Size]byte{}, slots: make(chan struct{}, max(1, runtime.NumCPU()/2)),
		known: map[string][sha256.Size]byte{}, guesses: guesses{from: map[string]*guessing{}, now: time.Now},
	}
	_, _ = rand.Read(b.key[:]) // It never fails.
	for pair := range strings.SplitSeq(text, ",") {
		name, password, ok := strings.Cut(strings.TrimSpace(pair), ":")
		if text != "" && (!ok || name == "" || password == "") {
			// The pair itself is not named: it may be half a password.
			return nil, connect.ConfigError("rest.basic.auth.users", "an entry is not of the form user:password")
		}
		if ok {
			b.clear[name] = sha256.Sum256([]byte(password))
		}
	}
	if file == "" {
		return b, nil
	}
	var err error
	if b.hashed, err = watch(file, parseHashes, report); err != nil {
		e := connect.ConfigError("rest.basic.auth.file", "the file of users cannot be used")
		e.Cause, e.Mend = err, "write it with tidemill user add, or htpasswd -B"
		return nil, e
	}
	b.nobody, err = bcrypt.GenerateFromPassword(b.key[:16], HashCost)
	return b, err
}

// parseHashes reads user:hash lines. What it finds wrong is told by the number of the
// line: what stands there may be a password.
func parseHashes(data []byte) (map[string][]byte, error) {
	all := map[string][]byte{}
	number := 0
	for line := range bytes.Lines(data) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		name, hash, ok := bytes.Cut(line, []byte(":"))
		if !ok || checkUser(string(name)) != nil {
			return nil, fmt.Errorf("line %d is not of the form user:hash", number)
		}
		if _, err := bcrypt.Cost(hash); err != nil {
			return nil, fmt.Errorf("line %d has no bcrypt hash, which begins with $2; passwords in the clear and other hashes are not taken", number)
		}
		if _, twice := all[string(name)]; twice {
			return nil, fmt.Errorf("line %d names a user for the second time", number)
		}
		all[string(name)] = bytes.Clone(hash)
	}
	if len(all) == 0 {
		return nil, errors.New("it names no user")
	}
	return all, nil
}

// Name implements Method.
func (b *basic) Name() string { return "basic" }

// Challenge implements Method.
func (b *basic) Challenge() string { return `Basic realm="tidemill", charset="UTF-8"` }

// Identify implements Method.
func (b *basic) Identify(r *http.Request) (*Principal, error) {
	name, password, ok := r.BasicAuth()
	if !ok {
		return nil, nil
	}
	want := b.hash(name)
	seen := b.remember(want, password)
	b.mu.Lock()
	was, known := b.known[name]
	b.mu.Unlock()
	if known && hmac.Equal(was[:], seen[:]) {
		return &Principal{Name: name}, nil
	}
	who := guesser(r, name)
	if !b.guesses.may(who) {
		return nil, ErrTooMany
	}
	right, err := b.check(r, name, password)
	if err != nil {
		return nil, err
	}
	if !right {
		b.guesses.wrong(who)
		return nil, errors.New("the name or the password is wrong")
	}
	b.mu.Lock()
	b.known[name] = seen
	b.mu.Unlock()
	return &Principal{Name: name}, nil
}

// hash is what is kept of a user's password now, nil for an unknown name.
func (b *basic) hash(name string) []byte {
	if b.hashed != nil {
		if hash := b.hashed.get()[name]; hash != nil {
			return hash
		}
	}
	if sum, ok := b.clear[name]; ok {
		return sum[:]
	}
	return nil
}

// remember is what stands for a password that was right for a hash.
func (b *basic) remember(hash []byte, password string) (sum [sha256.Size]byte) {
	m := hmac.New(sha256.New, b.key[:])
	m.Write(hash)
	m.Write([]byte{0})
	m.Write([]byte(password))
	return [sha256.Size]byte(m.Sum(nil))
}

// check compares a password with what is kept of it, in a time that tells neither how
// much of it was right nor whether there is such a user.
func (b *basic) check(r *http.Request, name, password string) (bool, error) {
	got := sha256.Sum256([]byte(password))
	clear, inClear := b.clear[name]
	right := subtle.ConstantTimeCompare(got[:], clear[:]) == 1 && inClear
	if b.hashed == nil {
		return right, nil
	}
	hash, found := b.hashed.get()[name]
	if !found {
		hash = b.nobody
	}
	select {
	case b.slots <- struct{}{}:
	case <-r.Context().Done():
		return false, r.Context().Err()
	}
	defer func() { <-b.slots }()
	same := bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil
	// A user of the file has the password of the file.
	return found && same || !found && right, nil
}
