package rest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/rest"
	"github.com/tidemill/tidemill/streams/sql"
)

// sqlStandIn answers a few texts, so that tests can see what HTTP makes of every kind
// of answer an engine can give.
type sqlStandIn struct {
	rows chan string // For the text "push": what is sent as rows.
	gone chan error  // Takes the end of a push query.
}

func (e *sqlStandIn) Execute(_ context.Context, r rest.SQLRequest) ([]any, error) {
	switch {
	case strings.HasPrefix(r.Text, "SELECT"):
		return nil, &sql.Error{Code: "sql.use_query", Message: "a SELECT by itself is a query", Hint: "send it to the query endpoint"}
	case r.Text == "half":
		return []any{map[string]string{"@type": "currentStatus"}}, &sql.Error{Code: "sql.syntax", Message: "unexpected word", Line: 2, Column: 5}
	case r.Text == "broken":
		return nil, &connect.Error{Code: "kafka.down", Class: connect.ClassRetriable, Message: "no broker", Mend: "start one"}
	case r.Text == "none":
		return nil, nil
	}
	return []any{map[string]any{"@type": "properties", "text": r.Text, "properties": r.Properties, "variables": r.Variables}}, nil
}

func (e *sqlStandIn) Query(ctx context.Context, r rest.SQLRequest, to rest.SQLRows) error {
	header := rest.SQLHeader{QueryID: "q1", Columns: []rest.SQLColumn{{Name: "ID", Type: "BIGINT", Key: true}, {Name: "a`b", Type: "STRUCT<`X` DOUBLE>"}}}
	switch r.Text {
	case "wrong":
		return &sql.Error{Code: "sql.unknown_column", Message: "no column QUANTTY", Hint: "did you mean QUANTITY?", Line: 1, Column: 8}
	case "push":
		header.Push = true
		err := to.Header(header)
		for err == nil {
			select {
			case row := <-e.rows:
				err = to.Row([]byte(row), false)
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		e.gone <- err
		return err
	}
	if err := to.Header(header); err != nil {
		return err
	}
	if r.Text == "empty" {
		return nil
	}
	if err := errors.Join(to.Row([]byte(`[1,{"X":1.0}]`), false), to.Row([]byte(`[2,null]`), true)); err != nil || r.Text == "breaks" {
		return errors.Join(err, errors.New("the store is closed"))
	}
	return to.Done("Limit Reached")
}

func TestSQLTranscript(t *testing.T) {
	play(t, filepath.Join("testdata", "sql.http"), serve(t, nil, func(o *rest.Options) { o.SQL = &sqlStandIn{} }))
}

// Every form of an answer that is a JSON array is one, however the query ends.
func TestArraysAreClosed(t *testing.T) {
	base := serve(t, nil, func(o *rest.Options) { o.SQL = &sqlStandIn{} })
	for _, text := range []string{"all", "empty", "breaks"} {
		for _, path := range []string{"/query", "/query-stream"} {
			r, _ := http.NewRequest("POST", base+path, strings.NewReader(`{"ksql":"`+text+`"}`))
			r.Header.Set("Accept", "application/json")
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			var all []any
			if err := json.NewDecoder(resp.Body).Decode(&all); err != nil || len(all) == 0 {
				t.Errorf("%s %s: %v", path, text, err)
			}
			resp.Body.Close()
		}
	}
}

func TestPushQueries(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, base string, body io.Closer, stop func()){
		"the client goes": func(_ *testing.T, _ string, body io.Closer, _ func()) { body.Close() },
		"it is closed": func(t *testing.T, base string, _ io.Closer, _ func()) {
			resp, err := http.Post(base+"/close-query", "application/json", strings.NewReader(`{"queryId":"q1"}`))
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Error(resp, err)
			}
		},
		"the server stops": func(_ *testing.T, _ string, _ io.Closer, stop func()) { stop() },
	} {
		t.Run(name, func(t *testing.T) {
			engine := &sqlStandIn{rows: make(chan string), gone: make(chan error, 1)}
			s, stop := start(t, connect.Config{"rest.port": "0"}, rest.Options{SQL: engine})
			base := "http://" + s.Addrs()[0].String()
			resp, err := http.Post(base+"/query-stream", "application/json", strings.NewReader(`{"sql":"push"}`))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { resp.Body.Close() })
			lines := bufio.NewScanner(resp.Body)
			for i, want := range []string{`{"queryId":"q1","columnNames":["ID","a` + "`" + `b"],"columnTypes":["BIGINT","STRUCT<` + "`X`" + ` DOUBLE>"]}`, `[1,null]`, `[2,null]`} {
				if i > 0 {
					// The row before was read, although the query goes on: each is sent at once.
					engine.rows <- want
				}
				if !lines.Scan() || lines.Text() != want {
					t.Fatalf("%q instead of %q, %v", lines.Text(), want, lines.Err())
				}
			}
			end(t, base, resp.Body, stop)
			select {
			case err := <-engine.gone:
				if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			case <-time.After(10 * time.Second):
				t.Error("the query goes on")
			}
		})
	}
}

// Clients of push queries speak HTTP/2 without TLS.
func TestHTTP2WithoutTLS(t *testing.T) {
	s, _ := start(t, connect.Config{"rest.port": "0"}, rest.Options{SQL: &sqlStandIn{}})
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Post("http://"+s.Addrs()[0].String()+"/query-stream", delimited, strings.NewReader(`{"sql":"all"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.ProtoMajor != 2 || !strings.HasSuffix(string(body), "[1,{\"X\":1.0}]\n[2,null]\n") {
		t.Errorf("HTTP/%d %q %v", resp.ProtoMajor, body, err)
	}
}

const delimited = "application/vnd.ksqlapi.delimited.v1"
