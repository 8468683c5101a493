package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/streams/status"
)

// devApplication asks a `tidemill dev` how the application of its only query is doing.
type devApplication struct {
	t    *testing.T
	ctx  context.Context
	base string
	id   string
}

// get asks over HTTP.
func (d *devApplication) get(path string) (code int, body string, err error) {
	req, err := http.NewRequestWithContext(d.ctx, http.MethodGet, d.base+path, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// wait asks until what is told is as wished.
func (d *devApplication) wait(what string, wished func(*status.Application) bool) *status.Application {
	d.t.Helper()
	var one *status.Application
	var last string
	err := until(d.ctx, what, func() (bool, error) {
		code, body, err := d.get(status.Path + "/" + url.PathEscape(d.id))
		if last = body; err != nil || code != http.StatusOK {
			return false, nil // It has only been started.
		}
		one = &status.Application{}
		if err := json.Unmarshal([]byte(body), one); err != nil {
			return false, err
		}
		return wished(one), nil
	})
	if err != nil {
		d.t.Fatalf("%v; the last answer was %s", err, last)
	}
	return one
}

// told asks the command until it says all of that.
func (d *devApplication) told(args []string, has ...string) {
	d.t.Helper()
	var out, errs bytes.Buffer
	err := until(d.ctx, fmt.Sprint(args, " to say ", has), func() (bool, error) {
		out.Reset()
		errs.Reset()
		code := run(append([]string{"streams", "status", "--url", d.base}, args...), &out, &errs)
		all := code == exitOK
		for _, h := range has {
			all = all && strings.Contains(out.String(), h)
		}
		return all, nil
	})
	if err != nil {
		d.t.Fatalf("%v; it said\n%s%s", err, out.String(), errs.String())
	}
}

// measured reads the metrics until the samples of each name whose labels have all of that
// add up to something.
func (d *devApplication) measured(name string, labels []string, want float64) {
	d.t.Helper()
	sum, last := 0.0, ""
	err := until(d.ctx, fmt.Sprint(name, labels, " to be ", want), func() (bool, error) {
		code, body, err := d.get("/metrics")
		if err != nil || code != http.StatusOK {
			return false, fmt.Errorf("%d %s %w", code, body, err)
		}
		sum, last = 0, body
		found := false
		for line := range strings.Lines(body) {
			sample, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
			if !strings.HasPrefix(sample, name+"{") {
				continue
			}
			all := true
			for _, l := range labels {
				all = all && strings.Contains(sample, l)
			}
			var v float64
			if _, err := fmt.Sscan(value, &v); all && err == nil {
				sum, found = sum+v, true
			}
		}
		return found && sum == want, nil
	})
	if err != nil {
		var about []string
		for line := range strings.Lines(last) {
			if strings.HasPrefix(line, name) {
				about = append(about, line)
			}
		}
		d.t.Fatalf("%v; it is %v in\n%s", err, sum, strings.Join(about, ""))
	}
}

// put asks for a change.
func (d *devApplication) put(what string) {
	d.t.Helper()
	if err := newClient(d.base).call(d.ctx, http.MethodPut, status.Path+"/"+url.PathEscape(d.id)+"/"+what, map[string]any{}, nil); err != nil {
		d.t.Fatalf("%s: %v", what, err)
	}
}

// TestStreamsOfWorker runs a query in `tidemill dev` and asks after the application that it
// is, over REST, in metrics and on the command line: while it runs, while it is paused and
// lags, and after its state is gone and was restored.
func TestStreamsOfWorker(t *testing.T) {
	ports, dir := freePorts(t, 3), t.TempDir()
	dev := launch(t, "dev", "--data-dir", dir, "--rest-port", fmt.Sprint(ports[0]), "--kafka-port", fmt.Sprint(ports[1]), "--registry-port", fmt.Sprint(ports[2]), "--pgwire-port", "0")
	ctx := timeout(t, 5*time.Minute)
	d := &devApplication{t: t, ctx: ctx, base: fmt.Sprintf("http://127.0.0.1:%d", ports[0])}
	dev.waitHealthy(ctx, d.base)
	d.told(nil, "no applications run here")
	c := newClient(d.base)
	say := func(statements string) {
		t.Helper()
		err := until(ctx, "the statements to be taken", func() (bool, error) {
			_, err := c.ksql(ctx, statements)
			if said, ok := err.(*restError); ok && said.status == http.StatusServiceUnavailable {
				return false, nil // It is still reading its log.
			}
			return true, err
		})
		if err != nil {
			t.Fatalf("%s: %v\n%s", statements, err, dev.stderr.String())
		}
	}
	say(`CREATE STREAM sales (item VARCHAR KEY, pieces INT) WITH (KAFKA_TOPIC='sales', VALUE_FORMAT='JSON', PARTITIONS=2);
		CREATE TABLE sold AS SELECT item, COUNT(*) AS times, SUM(pieces) AS pieces FROM sales GROUP BY item;`)
	for i := range 20 {
		say(fmt.Sprintf("INSERT INTO sales VALUES ('item %d', %d);", i, i))
	}

	var all []status.Summary
	if err := c.call(ctx, http.MethodGet, status.Path, nil, &all); err != nil || len(all) != 1 {
		t.Fatalf("applications %+v, %v", all, err)
	}
	d.id = all[0].ID
	one := d.wait("all rows to be counted", func(a *status.Application) bool {
		return a.State == "RUNNING" && len(a.Tasks) == 2 && a.Thread.Processed == 20 && a.Lag() == 0
	})
	store := one.Tasks[0].Stores[0].Name
	for _, k := range one.Tasks {
		if k.State != "RUNNING" || len(k.Partitions) != 1 || k.Partitions[0].Topic != "sales" || len(k.Stores) != 1 || k.Stores[0].Name != store {
			t.Errorf("task %+v", k)
		}
	}
	if one.Disk == nil || one.Disk.Dir != filepath.Join(dir, "state") || one.Disk.Bytes == 0 || one.Disk.Full {
		t.Errorf("disk %+v", one.Disk)
	}
	client := `client_id="` + d.id + "-" + one.Instance + `"`
	d.measured("kafka_streams_stream_task_metrics_process_total", []string{client}, 20)
	d.measured("kafka_streams_stream_metrics_client_state", []string{client}, 2)
	d.told(nil, d.id, "RUNNING  2      0")
	d.told([]string{d.id}, "20 records processed", "lag 0", "topic sales [0]", "topic sales [1]", "store "+store)
	d.told([]string{d.id, "--topology", "text"}, "topics: [sales]")
	d.told([]string{d.id, "--topology", "dot"}, "digraph topology {")

	d.put("pause")
	d.wait("the pause", func(a *status.Application) bool { return a.State == "PAUSED" })
	say("INSERT INTO sales VALUES ('item 1', 1); INSERT INTO sales VALUES ('item 2', 1); INSERT INTO sales VALUES ('item 3', 1);")
	d.wait("the lag", func(a *status.Application) bool { return a.State == "PAUSED" && a.Lag() == 3 })
	d.measured("tidemill_streams_lag_records", []string{client, `topic="sales"`}, 3)
	d.told([]string{d.id}, "PAUSED", "lag 3")
	d.put("resume")
	d.wait("the rest", func(a *status.Application) bool { return a.State == "RUNNING" && a.Lag() == 0 })

	restoredAgain(d, dev, filepath.Join(dir, "state", "state"))
	// What was not committed when the process was killed is counted anew.
	var rows [][]any
	err := until(ctx, "the row", func() (done bool, err error) {
		rows, err = c.query(ctx, "SELECT * FROM sold WHERE item = 'item 3';")
		return err == nil && len(rows) == 1 && number(rows[0][1]) == "2" && number(rows[0][2]) == "4", err
	})
	if err != nil {
		t.Errorf("rows %v, %v", rows, err)
	}
	if code, body, err := d.get(status.Path + "/nobody"); err != nil || code != http.StatusNotFound || !strings.Contains(body, `"code":"streams.app.unknown"`) {
		t.Errorf("of an application that is not there: %d %s %v", code, body, err)
	}
}

// restoredAgain kills the process and starts it without its database: restorations tell how
// far they have come.
func restoredAgain(d *devApplication, dev *process, database string) {
	d.t.Helper()
	dev.kill()
	if err := os.RemoveAll(database); err != nil {
		d.t.Fatal(err)
	}
	dev.start()
	dev.waitHealthy(d.ctx, d.base)
	one := d.wait("the stores to be restored", func(a *status.Application) bool {
		return a.State == "RUNNING" && len(a.Tasks) == 2 && a.Lag() == 0
	})
	total := int64(0)
	for _, k := range one.Tasks {
		r := k.Stores[0].Restore
		if r == nil || r.Left != 0 || r.Done != k.Restored || r.ETA == nil {
			d.t.Errorf("restoration of task %s: %+v", k.ID, r)
			continue
		}
		total += r.Done
	}
	if total < 20 {
		d.t.Errorf("%d records were restored, there are 20 rows", total)
	}
	client := `client_id="` + d.id + "-" + one.Instance + `"`
	d.measured("kafka_streams_stream_task_metrics_restore_total", []string{client}, float64(total))
	d.measured("kafka_streams_stream_task_metrics_restore_remaining_records_total", []string{client}, 0)
	d.told([]string{d.id}, fmt.Sprintf("%d records", one.Tasks[0].Stores[0].Restore.Done))
}
