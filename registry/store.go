package registry

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/tidemill/tidemill/connect"
)

// Store keeps the registry's history: entries in the order they were appended,
// each one line of text without a line break.
type Store interface {
	// Load calls replay for every entry, oldest first. It is called once,
	// before the first Append.
	Load(replay func(entry []byte) error) error
	// Append adds an entry and returns when it is as durable as this store
	// makes it. After an error the entry may or may not be there; the
	// registry then refuses further changes.
	Append(entry []byte) error
	// Close lets go of the store.
	Close() error
}

// Memory returns a store that keeps nothing: the registry ends with the
// process.
func Memory() Store { return memory{} }

type memory struct{}

func (memory) Load(func([]byte) error) error { return nil }
func (memory) Append([]byte) error           { return nil }
func (memory) Close() error                  { return nil }

// castagnoli is the polynomial of the checksums.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// fileStore appends to a file. A line is the CRC-32C of the entry in eight
// hexadecimal digits, a space and the entry.
type fileStore struct {
	mu     sync.Mutex
	file   *os.File
	size   int64 // of the good lines
	broken error // set when the end of the file is unknown
}

// OpenFile returns a store in a file, which is made if it is missing. Append
// waits for the disk. A last line that a crash cut short is dropped; a wrong
// checksum anywhere before it is an error of Load. Two processes must not use
// one file.
func OpenFile(name string) (Store, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the schema registry's file: %w", err)
	}
	// The file's name must be as durable as what it will hold.
	dir, err := os.Open(filepath.Dir(name))
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("opening the schema registry's file: %w", err)
	}
	return &fileStore{file: f}, nil
}

// Load implements Store.
func (s *fileStore) Load(replay func(entry []byte) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, err := io.ReadAll(s.file)
	if err != nil {
		return fmt.Errorf("reading the schema registry's file: %w", err)
	}
	for number := 1; len(text) > 0; number++ {
		line, rest, whole := bytes.Cut(text, []byte("\n"))
		entry, ok := checked(line)
		if !whole || !ok && len(rest) == 0 {
			break
		}
		if !ok {
			return &connect.Error{
				Code:    "registry.file.corrupt",
				Place:   fmt.Sprintf("%s, line %d", s.file.Name(), number),
				Message: "the checksum of an entry is wrong",
				Mend:    "restore the file from a backup, or remove it and register the schemas again",
			}
		}
		if err := replay(entry); err != nil {
			return fmt.Errorf("%s, line %d: %w", s.file.Name(), number, err)
		}
		s.size += int64(len(line) + 1)
		text = rest
	}
	if err := s.file.Truncate(s.size); err != nil {
		return fmt.Errorf("dropping the unfinished end of the schema registry's file: %w", err)
	}
	return nil
}

// checked returns the entry of a line whose checksum is right.
func checked(line []byte) ([]byte, bool) {
	if len(line) < 9 || line[8] != ' ' {
		return nil, false
	}
	sum, err := strconv.ParseUint(string(line[:8]), 16, 32)
	return line[9:], err == nil && uint32(sum) == crc32.Checksum(line[9:], castagnoli)
}

// Append implements Store.
func (s *fileStore) Append(entry []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	line := fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(entry, castagnoli), entry)
	_, err := s.file.WriteAt(line, s.size)
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		// After a failed sync nobody knows what the disk holds.
		s.broken = fmt.Errorf("writing the schema registry's file: %w", err)
		return s.broken
	}
	s.size += int64(len(line))
	return nil
}

// Close implements Store.
func (s *fileStore) Close() error { return s.file.Close() }
