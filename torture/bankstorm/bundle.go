package bankstorm

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// bundled are the files of the run's directory that a bundle keeps.
var bundled = []string{"timeline.jsonl", "broker.log", "postgres.log", "slots.json", "worker.properties"}

// bundle leaves all there is to know of a run in a directory, and names it. It passes
// the run's own error on.
func (r *run) bundle(failed error) (string, error) {
	dir, err := filepath.Abs(filepath.Join(r.o.Out, fmt.Sprintf("%s-%d-%s", r.o.Mode, r.o.Seed, time.Now().UTC().Format("20060102T150405"))))
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	files := bundled
	if r.world != nil {
		files = append(r.world.Logs(), bundled...)
	}
	for _, name := range files {
		if err == nil {
			err = copyFile(filepath.Join(r.dir, name), filepath.Join(dir, name))
		}
	}
	if err == nil {
		err = writeResult(dir, r.o, r.result)
	}
	if failed != nil {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "error.txt"), []byte(failed.Error()+"\n"), 0o644)
		}
		return dir, fmt.Errorf("%w (all there is to know is in %s)", failed, dir)
	}
	return dir, err
}

// copyFile copies a file; one that is not there is left out.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if closing := out.Close(); err == nil {
		err = closing
	}
	return err
}

// writeResult writes the result, the faults that were done and how to do them again.
func writeResult(dir string, o Options, result Result) error {
	plan := result.Plan
	if result.Shrunk != nil {
		plan = result.Shrunk
	}
	text, err := json.MarshalIndent(plan, "", " ")
	if err != nil {
		return err
	}
	command := "go run ./torture "
	if o.Lan != nil {
		command = "internal/testenv/netns/run " + command
	}
	repro := "#!/bin/sh\n# Does the faults of this run again, in their order, until it fails: from the root of the sources.\nexec " + command + arguments(dir, o) + " \"$@\"\n"
	for name, content := range map[string]string{"result.json": result.JSON() + "\n", "plan.json": string(text) + "\n", "repro.sh": repro} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// arguments are those of torture that make a run again, with the faults in a bundle.
func arguments(dir string, o Options) string {
	if o.repro != "" {
		return o.repro
	}
	binary, err := filepath.Abs(o.Binary)
	if err != nil {
		binary = o.Binary
	}
	list := []string{fmt.Sprintf("-seed %d -mode %s -duration %v -clients %d -tps %g -patience %v -recovery %v -memory %d", o.Seed, o.Mode, o.Duration, o.Clients, o.TPS, o.Patience, o.Recovery, o.Memory>>20),
		"-binary", shellQuote(binary), "-plan", shellQuote(filepath.Join(dir, "plan.json"))}
	for flag, value := range map[string]string{"-pg-bin": o.PGBin, "-templates": strings.Join(o.Templates, ","), "-points": o.Points} {
		if value != "" {
			list = append(list, flag, shellQuote(value))
		}
	}
	list = append(list, fmt.Sprintf("-copies=%t", o.Copies))
	if o.Streams {
		list = append(list, "-streams on")
	}
	if o.Workers > 1 {
		list = append(list, fmt.Sprintf("-workers %d", o.Workers))
	}
	if o.Lan != nil {
		list = append(list, "-netns")
	}
	list = append(list, "-repeat 5") // What a fault meets is not the same each time.
	return strings.Join(list, " ")
}

func shellQuote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// rewriteBundle adds to a bundle what is known since.
func rewriteBundle(o Options, result Result) error {
	if result.Bundle == "" {
		return nil
	}
	return writeResult(result.Bundle, o, result)
}

// slots writes down how the replication slots are.
func (r *run) slots() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := r.world.Connect(ctx, database)
	if err != nil {
		return // The server is gone: its log says why.
	}
	defer conn.Close(ctx)
	var text string
	const query = `SELECT jsonb_build_object('now', pg_current_wal_lsn(), 'slots', (SELECT jsonb_agg(to_jsonb(s)) FROM pg_replication_slots s),
		'activity', (SELECT jsonb_agg(to_jsonb(a)) FROM pg_stat_activity a))::text`
	if conn.QueryRow(ctx, query).Scan(&text) == nil {
		_ = os.WriteFile(filepath.Join(r.dir, "slots.json"), []byte(text+"\n"), 0o644) // A bundle without it is still one.
	}
}
