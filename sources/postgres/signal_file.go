package postgres

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
)

// takenSuffix names the file that lines are read from, beside the signal file.
const takenSuffix = ".taken"

// fromFile reads the signal file. What is there is put aside under another name before
// it is read, and removed only when all it asks for is stored: lines that are written
// meanwhile go into a new file, or, by whoever has the old one open, behind what was
// read, where they are found before it is removed. A kill in between repeats signals;
// none is lost.
func (b *beside) fromFile(ctx context.Context) error {
	set := &b.s.set.signals
	for {
		if err := b.readSignalFile(ctx, set.file); err != nil && ctx.Err() == nil {
			b.s.log.Warn("The signal file cannot be read.", "file", set.file, "error", err)
		}
		if !pause(ctx, set.poll) {
			return nil
		}
	}
}

func (b *beside) readSignalFile(ctx context.Context, file string) error {
	taken := file + takenSuffix
	if _, err := os.Stat(taken); errors.Is(err, fs.ErrNotExist) {
		info, err := os.Stat(file)
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		if err := os.Rename(file, taken); err != nil {
			return err
		}
	}
	for done := 0; ; {
		text, err := os.ReadFile(taken)
		if err != nil {
			return err
		}
		if len(text) == done {
			return os.Remove(taken)
		}
		for line := range bytes.Lines(text[done:]) {
			if err := b.signalLine(ctx, bytes.TrimSpace(line)); err != nil {
				return err
			}
		}
		done = len(text)
	}
}

func (b *beside) signalLine(ctx context.Context, line []byte) error {
	if len(line) == 0 {
		return nil
	}
	sig, err := parseSignalObject(line)
	if err != nil {
		b.s.log.Warn("A line of the signal file cannot be understood.", "error", err)
		return nil
	}
	return b.handSafely(ctx, sig)
}
