package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// arrived waits until the topic holds n records. The client looks for new topics often:
// by default it would notice one up to five seconds late.
func (w *workerUnderTest) arrived(ctx context.Context, connector, topic string, n int64) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(w.brokers), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	for {
		offsets, err := admin.ListEndOffsets(ctx, topic)
		if err != nil {
			return err
		}
		var have int64
		offsets.Each(func(o kadm.ListedOffset) {
			if o.Err == nil {
				have += o.Offset
			}
		})
		if have >= n {
			return nil
		}
		if err := w.process.pause(ctx); err != nil {
			return err
		}
		if err := w.healthy(ctx, connector); err != nil {
			return err
		}
	}
}

// healthy fails when a task of the connector has failed.
func (w *workerUnderTest) healthy(ctx context.Context, connector string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/connectors/"+connector+"/status", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var s struct {
		Tasks []struct{ State, Trace string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		return err
	}
	for _, t := range s.Tasks {
		if t.State == "FAILED" {
			return fmt.Errorf("the connector failed: %s", t.Trace)
		}
	}
	return nil
}

func (w *workerUnderTest) post(ctx context.Context, path string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return w.do(ctx, http.MethodPost, path, text)
}

func (w *workerUnderTest) delete(ctx context.Context, path string) error {
	return w.do(ctx, http.MethodDelete, path, nil)
}

func (w *workerUnderTest) do(ctx context.Context, method, path string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, method, w.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		var said bytes.Buffer
		_, _ = said.ReadFrom(resp.Body)
		return fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, said.String())
	}
	return nil
}
