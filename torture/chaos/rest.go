package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Status is how a connector and its tasks are, as GET /connectors/{name}/status says.
type Status struct {
	Connector struct{ State, Trace string }
	Tasks     []struct {
		ID           int
		State, Trace string
	}
}

// Running tells that the connector and all of its tasks run.
func (s Status) Running() bool {
	for _, t := range s.Tasks {
		if t.State != "RUNNING" {
			return false
		}
	}
	return s.Connector.State == "RUNNING" && len(s.Tasks) > 0
}

// Failed returns what the first part that has failed says, "" when none has.
func (s Status) Failed() string {
	if s.Connector.State == "FAILED" {
		return s.Connector.Trace
	}
	for _, t := range s.Tasks {
		if t.State == "FAILED" {
			return t.Trace
		}
	}
	return ""
}

// String is one line.
func (s Status) String() string {
	text := "connector " + s.Connector.State
	for _, t := range s.Tasks {
		text += fmt.Sprintf(", task %d %s", t.ID, t.State)
	}
	if why := s.Failed(); why != "" {
		text += ": " + firstLine(why)
	}
	return text
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// callTime bounds one request to the worker.
const callTime = 20 * time.Second

// request is one to a worker's REST interface; body may be nil.
type request struct {
	method, path string
	body         any
}

// Call sends a request to the REST interface of a worker, past any proxy, and reads the
// answer into result; body and result may be nil. Of several workers the next one is
// asked when one does not answer. An answer that is not 2xx is an error.
func (w *World) Call(ctx context.Context, method, path string, body, result any) error {
	var errs []error
	first, all := int(w.answered.Load()), len(w.workers)
	for n := range all {
		at := (first + n) % all
		err := w.ask(ctx, w.workers[at], callTime/time.Duration(all), request{method, path, body}, result)
		var none *url.Error // There was no answer.
		if err == nil || !errors.As(err, &none) {
			w.answered.Store(int32(at))
			return err
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// ask sends a request to one worker.
func (w *World) ask(ctx context.Context, k *worker, patience time.Duration, q request, result any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var payload io.Reader
	if q.body != nil {
		text, err := json.Marshal(q.body)
		if err != nil {
			return err
		}
		payload = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, q.method, k.url+q.path, payload)
	if err != nil {
		return err
	}
	if q.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if bytes.Contains(text, []byte(w.secret)) {
		w.o.Journal.Found(AnomalySecret, "the answer of %s %s holds the database's password", q.method, q.path)
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", q.method, q.path, resp.Status, bytes.TrimSpace(text))
	}
	if result == nil {
		return nil
	}
	if into, ok := result.(*string); ok {
		*into = string(text)
		return nil
	}
	return json.Unmarshal(text, result)
}

// Status asks how a connector is.
func (w *World) Status(ctx context.Context, connector string) (s Status, err error) {
	err = w.Call(ctx, "GET", "/connectors/"+connector+"/status", nil, &s)
	return s, err
}

// Create registers a connector and waits until it runs. A worker that ends meanwhile is
// asked again when it is back.
func (w *World) Create(ctx context.Context, name string, config map[string]string) error {
	for {
		err := w.Call(ctx, "PUT", "/connectors/"+name+"/config", config, nil)
		if err == nil {
			break
		}
		if strings.Contains(err.Error(), ": 400 ") || !pause(ctx, 100*ms) {
			return err
		}
	}
	return w.Await(ctx, name, Status.Running)
}

// Await waits until a connector is as holds says.
func (w *World) Await(ctx context.Context, connector string, holds func(Status) bool) error {
	for {
		s, err := w.Status(ctx, connector)
		if err == nil && holds(s) {
			return nil
		}
		if !pause(ctx, 50*time.Millisecond) {
			return fmt.Errorf("waiting for the connector %s: %w; it is %s (%v)", connector, context.Cause(ctx), s, err)
		}
	}
}
