package worker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tidemill/tidemill/internal/kafkalog"
)

// fileJournal keeps its records in a file, which is replaced as a whole by a
// rename, after its successor has reached the disk: a crash leaves one or the other.
type fileJournal struct {
	memoryJournal
	path string
	// entries are what the file holds, by key.
	entries map[string][]byte
}

// fileFormat is the file's content. Keys and values are what the offsets topic of a
// distributed worker would hold, as base64.
type fileFormat struct {
	Version int               `json:"version"`
	Entries map[string]string `json:"entries"`
}

// openFile reads the file, if there is one, and applies its records.
func openFile(path string, apply func(kafkalog.Record)) (*fileJournal, error) {
	j := &fileJournal{memoryJournal: memoryJournal{apply: apply}, path: path, entries: map[string][]byte{}}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("read the offsets file: %w", err)
	}
	var content fileFormat
	if err := json.Unmarshal(data, &content); err != nil {
		return nil, fmt.Errorf("read the offsets file %s, which may be one of Kafka Connect's, in Java's own format: %w", path, err)
	}
	if content.Version != 1 {
		return nil, fmt.Errorf("the offsets file %s is of version %d, and this program reads version 1", path, content.Version)
	}
	for k, v := range content.Entries {
		key, err := base64.StdEncoding.DecodeString(k)
		if err != nil {
			return nil, fmt.Errorf("read the offsets file %s: %w", path, err)
		}
		value, err := base64.StdEncoding.DecodeString(v)
		if err != nil {
			return nil, fmt.Errorf("read the offsets file %s: %w", path, err)
		}
		j.entries[string(key)] = value
		apply(kafkalog.Record{Key: key, Value: value})
	}
	return j, nil
}

// Put writes the file anew with the entries in it.
func (j *fileJournal) Put(ctx context.Context, entries ...kafkalog.Entry) error {
	j.mu.Lock()
	for _, e := range entries {
		if e.Value == nil {
			delete(j.entries, string(e.Key))
			continue
		}
		j.entries[string(e.Key)] = e.Value
	}
	err := j.save()
	j.mu.Unlock()
	if err != nil {
		return fmt.Errorf("write the offsets file: %w", err)
	}
	return j.memoryJournal.Put(ctx, entries...)
}

func (j *fileJournal) save() error {
	content := fileFormat{Version: 1, Entries: make(map[string]string, len(j.entries))}
	for k, v := range j.entries {
		content.Entries[base64.StdEncoding.EncodeToString([]byte(k))] = base64.StdEncoding.EncodeToString(v)
	}
	data, err := json.Marshal(content)
	if err != nil {
		return err
	}
	next := j.path + ".next"
	if err := writeSynced(next, data); err != nil {
		return err
	}
	if err := os.Rename(next, j.path); err != nil {
		return err
	}
	// The rename itself is durable once the folder is.
	dir, err := os.Open(filepath.Dir(j.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}
