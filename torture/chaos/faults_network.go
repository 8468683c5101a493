package chaos

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/tidemill/tidemill/internal/testenv/proxy"
)

// networkFaults are those of the connections of the worker to PostgreSQL and to Kafka.
func networkFaults() []class {
	var list []class
	for _, side := range []struct {
		name string
		of   func(*World) *proxy.Proxy
	}{
		{"px-pg", func(w *World) *proxy.Proxy { return w.toPG }},
		{"px-kafka", func(w *World) *proxy.Proxy { return w.toKafka }},
	} {
		under := func(c func(f Fault) proxy.Conditions) func(*World, context.Context, Fault) error {
			return func(w *World, ctx context.Context, f Fault) error {
				side.of(w).Set(c(f))
				defer side.of(w).Set(proxy.Conditions{})
				pause(ctx, f.Hold)
				return nil
			}
		}
		list = append(list,
			class{side.name + ".cut", 1, 0, 500 * ms, func(w *World, ctx context.Context, f Fault) error {
				side.of(w).Set(proxy.Conditions{Refuse: true})
				defer side.of(w).Set(proxy.Conditions{})
				side.of(w).Cut()
				pause(ctx, f.Hold)
				return nil
			}},
			class{side.name + ".rst", 1, 0, 0, func(w *World, _ context.Context, _ Fault) error {
				side.of(w).Reset()
				return nil
			}},
			class{side.name + ".hole", 1, 200 * ms, 7 * time.Second, under(func(Fault) proxy.Conditions { return proxy.Conditions{Stall: proxy.Both} })},
			class{side.name + ".half", 1, 200 * ms, 4 * time.Second, func(w *World, ctx context.Context, f Fault) error {
				return halfOpen(ctx, side.of(w), f)
			}},
			class{side.name + ".slow", 1, 500 * ms, 2 * time.Second, under(func(f Fault) proxy.Conditions {
				return proxy.Conditions{Delay: time.Duration(20+f.Pick%180) * ms}
			})},
			class{side.name + ".thin", 1, 500 * ms, 2 * time.Second, under(func(f Fault) proxy.Conditions {
				return proxy.Conditions{BytesPerSecond: int(20_000 + f.Pick%180_000)}
			})},
		)
	}
	return list
}

// halfOpen loses what goes in one direction, or in both, of the connections that are
// open. What comes back after a while is a host that does not know them any more, and
// says so by a reset.
func halfOpen(ctx context.Context, p *proxy.Proxy, f Fault) error {
	old := p.Open()
	for _, c := range old {
		c.Swallow([]proxy.Direction{proxy.ToServer, proxy.ToClient, proxy.Both}[f.Pick%3])
	}
	pause(ctx, f.Hold)
	for _, c := range old {
		c.Reset()
	}
	return nil
}

// swizzle silences both networks and the registry one after the other, and has them
// come back in an order that Pick decides.
func (w *World) swizzle(ctx context.Context, f Fault) error {
	silence := []func(on bool){
		func(on bool) { w.toPG.Set(stalled(on)) },
		func(on bool) { w.toKafka.Set(stalled(on)) },
		func(on bool) {
			status := 0
			if on {
				status = http.StatusServiceUnavailable
			}
			w.sick.set(status, 0)
		},
	}
	for _, s := range silence {
		s(true)
		defer s(false)
		pause(ctx, f.Hold/6)
	}
	for i := range silence {
		pause(ctx, f.Hold/6)
		silence[(uint64(i)+f.Pick)%uint64(len(silence))](false)
	}
	return nil
}

func stalled(on bool) proxy.Conditions {
	if on {
		return proxy.Conditions{Stall: proxy.Both}
	}
	return proxy.Conditions{}
}

func registryFaults() []class {
	ill := func(status int, drip time.Duration) func(*World, context.Context, Fault) error {
		return func(w *World, ctx context.Context, f Fault) error {
			w.sick.set(status, drip)
			defer w.sick.set(0, 0)
			if f.Pick%2 == 0 {
				// A worker that is asked nothing would not notice.
				w.worker(f).signal(syscall.SIGKILL, true)
			}
			pause(ctx, f.Hold)
			return nil
		}
	}
	return []class{
		{"sr.503", 1, 500 * ms, 2 * time.Second, ill(http.StatusServiceUnavailable, 0)},
		{"sr.429", 1, 500 * ms, 2 * time.Second, ill(http.StatusTooManyRequests, 0)},
		{"sr.drip", 1, 500 * ms, 2 * time.Second, ill(0, 3*ms)},
	}
}

func restFaults() []class {
	return []class{
		{"rest.pause", 1, 200 * ms, 1500 * ms, func(w *World, ctx context.Context, f Fault) error {
			return w.onConnector(ctx, func(path string) error {
				if err := w.Call(ctx, "PUT", path+"/pause", nil, nil); err != nil {
					return err
				}
				pause(ctx, f.Hold)
				return w.persist(ctx, "PUT", path+"/resume")
			})
		}},
		{"rest.stop", 1, 200 * ms, 1500 * ms, func(w *World, ctx context.Context, f Fault) error {
			return w.onConnector(ctx, func(path string) error {
				if err := w.Call(ctx, "PUT", path+"/stop", nil, nil); err != nil {
					return err
				}
				pause(ctx, f.Hold)
				return w.persist(ctx, "PUT", path+"/resume")
			})
		}},
		{"rest.restart", 1, 0, 0, func(w *World, ctx context.Context, _ Fault) error {
			return w.onConnector(ctx, func(path string) error {
				return w.persist(ctx, "POST", path+"/restart?includeTasks=true")
			})
		}},
	}
}

// onConnector does something with the first connector, once the worker takes requests.
func (w *World) onConnector(ctx context.Context, do func(path string) error) error {
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	if err := w.Ready(ctx); err != nil {
		return err
	}
	return do("/connectors/" + Connector)
}

// persist sends a request until it is taken: the worker may be busy with another change.
func (w *World) persist(ctx context.Context, method, path string) error {
	for {
		err := w.Call(ctx, method, path, nil, nil)
		if err == nil || !pause(ctx, 100*ms) {
			return err
		}
	}
}

// send sends JSON to an address of our own.
func send(ctx context.Context, method, url, body string) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
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
		text, _ := io.ReadAll(resp.Body) // The status says it already.
		return fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, text)
	}
	return nil
}
