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
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/sql"
)

// sqlStandIn answers a few texts, so that tests can see what HTTP makes of every kind
// of answer an engine can give, also of those it gives seldom. Its rows are empty:
// only an engine makes others.
type sqlStandIn struct {
	rows chan struct{} // For the text "push": when a row comes.
	gone chan error    // Takes the end of a push query.
}

// entity is the answer to a statement.
type entity map[string]any

func (e entity) Kind() string                  { return "properties" }
func (e entity) Table() ([]string, [][]string) { return nil, nil }

func (e *sqlStandIn) Execute(_ context.Context, r sql.Request) ([]sql.Entity, error) {
	switch {
	case strings.HasPrefix(r.Text, "SELECT"):
		return nil, &sql.Error{Code: "sql.use_query", Message: "a SELECT by itself is a query", Hint: "send it to the query endpoint"}
	case r.Text == "half":
		return []sql.Entity{entity{"@type": "currentStatus"}}, &sql.Error{Code: "sql.syntax", Message: "unexpected word", Line: 2, Column: 5}
	case r.Text == "broken":
		return nil, &connect.Error{Code: "kafka.down", Class: connect.ClassRetriable, Message: "no broker", Mend: "start one"}
	case r.Text == "none":
		return nil, nil
	}
	return []sql.Entity{entity{"@type": "properties", "text": r.Text, "properties": r.Properties, "variables": r.Variables}}, nil
}

func (e *sqlStandIn) Query(ctx context.Context, r sql.Request, to sql.Answer) (bool, error) {
	header := sql.Header{Columns: []sql.Column{{Name: "ID", Type: "BIGINT", Key: true}, {Name: "a`b", Type: "STRING"}}}
	switch r.Text {
	case "wrong":
		return false, &sql.Error{Code: "sql.unknown_column", Message: "no column QUANTTY", Hint: "did you mean QUANTITY?", Line: 1, Column: 8}
	case "limit":
		header.QueryID = "q1"
		return true, to.Header(header)
	case "push":
		header.QueryID = "q1"
		err := to.Header(header)
		for err == nil {
			select {
			case <-e.rows:
				err = to.Row(sql.Row{})
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		e.gone <- err
		return false, err
	}
	if err := to.Header(header); err != nil || r.Text == "empty" {
		return true, err
	}
	if err := errors.Join(to.Row(sql.Row{}), to.Row(sql.Row{Tombstone: true})); err != nil || r.Text == "breaks" {
		return false, errors.Join(err, errors.New("the store is closed"))
	}
	return true, nil
}

func (e *sqlStandIn) Follow(_ context.Context, r sql.Request, _ query.Position, to sql.Follower) error {
	switch r.Text {
	case "wrong":
		return &sql.Error{Code: "sql.unknown_column", Message: "no column QUANTTY", Hint: "did you mean QUANTITY?", Line: 1, Column: 8}
	case "breaks":
		if err := to.Begin(sql.Header{}, true); err != nil {
			return err
		}
		return errors.New("the topic is gone")
	}
	return nil
}

func TestSQLTranscript(t *testing.T) {
	play(t, filepath.Join("testdata", "sql.http"), serve(t, nil, func(o *rest.Options) { o.SQL = &sqlStandIn{} }))
}

// Every form of an answer that is a JSON array is one, however the query ends.
func TestArraysAreClosed(t *testing.T) {
	base := serve(t, nil, func(o *rest.Options) { o.SQL = &sqlStandIn{} })
	for _, text := range []string{"all", "empty", "breaks", "limit"} {
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
			engine := &sqlStandIn{rows: make(chan struct{}), gone: make(chan error, 1)}
			s, stop := start(t, connect.Config{"rest.port": "0"}, rest.Options{SQL: engine})
			base := "http://" + s.Addrs()[0].String()
			resp, err := http.Post(base+"/query-stream", "application/json", strings.NewReader(`{"sql":"push"}`))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { resp.Body.Close() })
			lines := bufio.NewScanner(resp.Body)
			for i := range 4 {
				// Each line is read before the next row comes: rows are sent at once.
				if i > 0 {
					engine.rows <- struct{}{}
				}
				if !lines.Scan() || lines.Text() != "[]" && i > 0 || i == 0 && !strings.HasPrefix(lines.Text(), `{"queryId":"q1","columnNames":["ID","a`+"`"+`b"]`) {
					t.Fatalf("%q, %v", lines.Text(), lines.Err())
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
	if err != nil || resp.ProtoMajor != 2 || !strings.HasSuffix(string(body), "[]\n[]\n") {
		t.Errorf("HTTP/%d %q %v", resp.ProtoMajor, body, err)
	}
}

const delimited = "application/vnd.ksqlapi.delimited.v1"
