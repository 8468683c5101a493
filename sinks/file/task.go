package file

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// maxBuffer is how many bytes of lines are gathered before they are written.
const maxBuffer = 1 << 20

type task struct {
	options Options
	name    string
	whole   bool // Whole records as JSON, not their values alone.
	out     io.Writer
	file    *os.File // nil for standard output.
	buf     []byte
	torn    bool // The last write broke off within a line.
	dirty   bool // There is something to sync.
}

// Start opens the file for appending, and creates it when it is not there.
func (t *task) Start(_ context.Context, env connect.SinkTaskEnv) error {
	s, err := parse(env.Config)
	if err != nil {
		return err
	}
	t.name, t.whole = s.String("file"), strings.EqualFold(s.String("format"), formatJSON)
	if toStdout(t.name) {
		t.out = t.options.Stdout
		return nil
	}
	root, rel, err := t.options.locate(t.name)
	if err != nil {
		return err
	}
	defer root.Close()
	f, err := root.OpenFile(rel, os.O_APPEND|os.O_CREATE|os.O_WRONLY|openFlags, 0o644)
	if err != nil {
		return openError(t.name, err)
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return notRegular(t.name)
	}
	t.file, t.out = f, f
	return nil
}

// Put appends a line for each record.
func (t *task) Put(ctx context.Context, records []connect.SinkRecord) error {
	t.buf = t.buf[:0]
	for i := range records {
		t.buf = t.append(t.buf, &records[i])
		if len(t.buf) >= maxBuffer || i == len(records)-1 {
			if err := ctx.Err(); err != nil {
				return connect.Retry(fmt.Errorf("writing %s: %w", t.name, err), 0)
			}
			if err := t.write(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *task) append(dst []byte, r *connect.SinkRecord) []byte {
	switch {
	case t.whole:
		dst = appendRecord(dst, r)
	case r.Value.Kind() == connect.KindString:
		dst = append(dst, r.Value.Str()...)
	default:
		dst = connect.AppendJSON(dst, r.ValueSchema, r.Value)
	}
	return append(dst, '\n')
}

// appendRecord appends a record as a JSON object.
func appendRecord(dst []byte, r *connect.SinkRecord) []byte {
	dst = append(dst, `{"topic":`...)
	dst = connect.AppendJSON(dst, nil, connect.String(r.Topic))
	dst = append(dst, `,"partition":`...)
	dst = connect.AppendJSON(dst, nil, connect.Int32(r.OriginalPartition))
	dst = append(dst, `,"offset":`...)
	dst = connect.AppendJSON(dst, nil, connect.Int64(r.Offset))
	dst = append(dst, `,"timestamp":`...)
	at := connect.Int64(r.Timestamp)
	if r.Timestamp == connect.NoTimestamp {
		at = connect.Value{}
	}
	dst = connect.AppendJSON(dst, nil, at)
	dst = append(dst, `,"key":`...)
	dst = connect.AppendJSON(dst, r.KeySchema, r.Key)
	dst = append(dst, `,"value":`...)
	dst = connect.AppendJSON(dst, r.ValueSchema, r.Value)
	for i, h := range r.Headers {
		open := `,"headers":[{`
		if i > 0 {
			open = `,{`
		}
		dst = append(dst, open...)
		dst = connect.AppendJSON(dst, nil, connect.String(h.Key))
		dst = append(dst, ':')
		dst = append(connect.AppendJSON(dst, h.Schema, h.Value), '}')
	}
	if len(r.Headers) > 0 {
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// write writes out the buffer. When a full disk cuts a line short, the next write
// begins on a line of its own.
func (t *task) write() error {
	if t.torn {
		if _, err := t.out.Write([]byte{'\n'}); err != nil {
			return t.writeError(err)
		}
		t.torn = false
	}
	n, err := t.out.Write(t.buf)
	t.dirty = t.dirty || n > 0
	if err != nil {
		t.torn = n > 0 && t.buf[n-1] != '\n'
		return t.writeError(err)
	}
	t.buf = t.buf[:0]
	return nil
}

func (t *task) writeError(err error) error {
	return &connect.Error{
		Code: "file.write", Class: connect.ClassRetriable, Place: t.name,
		Message: "records cannot be written", Mend: "make room on the disk", Cause: err,
	}
}

// PreCommit implements connect.PreCommitter: what was written is on the disk before
// its offsets are committed.
func (t *task) PreCommit(_ context.Context, offsets map[connect.TopicPartition]int64) (map[connect.TopicPartition]int64, error) {
	if t.file != nil && t.dirty {
		if err := t.file.Sync(); err != nil {
			return nil, t.writeError(err)
		}
	}
	t.dirty = false
	return offsets, nil
}

// Stop implements connect.SinkTask.
func (t *task) Stop(context.Context) error {
	if t.file == nil {
		return nil
	}
	return t.file.Close()
}
