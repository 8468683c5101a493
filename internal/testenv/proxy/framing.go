package proxy

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"sync/atomic"
)

// Splitter reads the next whole message. At the end of the connection it
// returns io.EOF, and with io.ErrUnexpectedEOF what there is of a message that
// is cut. What it returns is valid until it is called again.
type Splitter func(r *bufio.Reader) ([]byte, error)

// Framing makes the splitters of a new connection, one for each direction.
type Framing func() (toServer, toClient Splitter)

// pieces takes what one read of the socket gave for a message.
func pieces() (toServer, toClient Splitter) { return piece(), piece() }

func piece() Splitter {
	var held int // Bytes of the last piece, which are still in the reader.
	return func(r *bufio.Reader) ([]byte, error) {
		_, _ = r.Discard(held)
		held = 0
		if _, err := r.Peek(1); err != nil {
			return nil, err
		}
		data, err := r.Peek(r.Buffered())
		held = len(data)
		return data, err
	}
}

// Kafka splits at the size of 4 bytes that stands before each request and each
// response (https://kafka.apache.org/protocol#protocol_common).
func Kafka() (toServer, toClient Splitter) {
	sized := func() Splitter {
		var buf []byte
		return func(r *bufio.Reader) ([]byte, error) {
			var err error
			buf, err = readSized(r, buf[:0], 0, 0)
			return buf, err
		}
	}
	return sized(), sized()
}

// errFraming ends a connection that does not speak the protocol.
var errFraming = errors.New("proxy: this is no message of the protocol")

// readSized appends a message to buf: so many bytes of type, then a size of 4
// bytes, of which so many count bytes that were read already.
func readSized(r *bufio.Reader, buf []byte, typed, counted int) ([]byte, error) {
	buf, err := readN(r, buf, typed+4)
	if err != nil {
		return buf, err
	}
	size := int(int32(binary.BigEndian.Uint32(buf[typed:]))) - counted
	if size < 0 {
		return buf, errFraming
	}
	return readN(r, buf, size)
}

// readN appends n bytes.
func readN(r *bufio.Reader, buf []byte, n int) ([]byte, error) {
	at := len(buf)
	if need := at + n; need > cap(buf) {
		buf = append(make([]byte, 0, need), buf...)
	}
	got, err := io.ReadFull(r, buf[at:at+n])
	buf = buf[:at+got]
	if errors.Is(err, io.EOF) && len(buf) > 0 {
		err = io.ErrUnexpectedEOF
	}
	return buf, err
}

// The codes of the messages that a client may send in place of the start-up
// (https://www.postgresql.org/docs/current/protocol-message-formats.html).
const (
	sslRequest    = 80877103
	gssEncRequest = 80877104
)

// Postgres splits at the messages of PostgreSQL's protocol 3: a type of 1 byte,
// except for what the client says first, and a size of 4 that counts itself.
// When encryption was asked for and granted, what follows is split as it comes.
func Postgres() (toServer, toClient Splitter) {
	s := &postgres{}
	return s.client(), s.server()
}

// postgres is what both directions of a connection have to know.
type postgres struct {
	asked     atomic.Bool // For encryption; the answer is one byte.
	encrypted atomic.Bool
}

func (s *postgres) client() Splitter {
	var buf []byte
	raw, started := piece(), false
	return func(r *bufio.Reader) ([]byte, error) {
		var err error
		if !started {
			if _, err = r.Peek(1); err == nil && s.encrypted.Load() {
				started = true
			}
		}
		if s.encrypted.Load() {
			return raw(r)
		}
		if started {
			buf, err = readSized(r, buf[:0], 1, 4)
			return buf, err
		}
		buf, err = readSized(r, buf[:0], 0, 4)
		if err == nil && len(buf) == 8 {
			if code := binary.BigEndian.Uint32(buf[4:]); code == sslRequest || code == gssEncRequest {
				s.asked.Store(true)
				return buf, nil // The start-up follows, or another such question.
			}
		}
		started = true
		return buf, err
	}
}

func (s *postgres) server() Splitter {
	var buf []byte
	raw := piece()
	return func(r *bufio.Reader) ([]byte, error) {
		if s.encrypted.Load() {
			return raw(r)
		}
		head, err := r.Peek(1)
		if err != nil {
			return nil, err
		}
		// An error in answer to the question is a message like others.
		if s.asked.Load() && head[0] != 'E' {
			s.asked.Store(false)
			s.encrypted.Store(head[0] != 'N')
			buf, err = readN(r, buf[:0], 1)
			return buf, err
		}
		buf, err = readSized(r, buf[:0], 1, 4)
		return buf, err
	}
}
