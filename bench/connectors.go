package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// manyConnectors have nothing to do, on one worker.
	manyConnectors = 1000
	// sharedConnectors, of one task each, are shared by the workers of a fleet.
	sharedConnectors = 900
	fleetWorkers     = 3
	// asked is how often something that takes milliseconds is asked for.
	asked = 20
	// lookEvery is how often a fleet is asked where its tasks are.
	lookEvery = 20 * time.Millisecond
)

// benchConnectors measures what many connectors with nothing to do cost: to make one, to
// validate one, to start with them all, to list them, and to share them anew.
func benchConnectors(ctx context.Context, o options) error {
	s, err := startStack(ctx, o.binary, o.kafka)
	if err != nil {
		return err
	}
	defer s.stop()
	o.run.Machine.Broker = s.broker.name
	if err := s.crowded(ctx, o); err != nil {
		return err
	}
	if err := s.shared(ctx, o); err != nil {
		return err
	}
	return s.rolled(ctx, o)
}

// crowded measures one worker.
func (s *stack) crowded(ctx context.Context, o options) error {
	file, url, err := s.properties(s.unique("crowd"), jsonConverters)
	if err != nil {
		return err
	}
	e := &engine{name: "tidemill", stack: s, url: url}
	if err := e.run(ctx, s.binary, "worker", "-c", file); err != nil {
		return err
	}
	validated, err := timed(asked, func(int) error { return e.validated(ctx) })
	if err != nil {
		return err
	}
	made, err := timed(asked, func(n int) error {
		if err := e.created(ctx, idleName(n), idleConnector(n)); err != nil {
			return err
		}
		return e.placed(ctx, n+1, 1)
	})
	if err != nil {
		return err
	}
	for n := asked; n < manyConnectors; n++ {
		if err := e.created(ctx, idleName(n), idleConnector(n)); err != nil {
			return err
		}
	}
	if err := e.placed(ctx, manyConnectors, 1); err != nil {
		return err
	}
	o.report(inMS("connectors.validate_ms", "a PostgreSQL connector whose database cannot be reached is validated", validated).held(false, 200))
	o.report(inMS("connectors.create_ms", "from the request that makes a connector until its task runs", made).held(false, 300))

	e.process.stop()
	began := time.Now()
	if err := e.run(ctx, s.binary, "worker", "-c", file); err != nil {
		return err
	}
	if err := e.placed(ctx, manyConnectors, 1); err != nil {
		return err
	}
	ready := time.Since(began)
	if err := rest(ctx, o.idle); err != nil {
		return err
	}
	now, peak := e.memory()
	listed, err := timed(asked, func(int) error { _, err := e.expanded(ctx); return err })
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%d idle connectors on one worker: ", manyConnectors)
	o.report(figure{Name: "connectors.many.ready", Unit: "s", Value: ready.Seconds(), What: what + "from the start of the process until all of their tasks run"}.held(false, 5))
	o.report(figure{Name: "connectors.many.memory", Unit: "MB", Value: now, RSS: peak, What: what + "its memory"}.held(false, 250))
	o.report(inMS("connectors.many.list_ms", what+"the list with configurations and states", listed).held(false, 50))
	e.process.stop()
	return nil
}

// mate is a worker of a fleet.
type mate struct {
	*engine
	file string // Of its settings.
}

// again starts it when it has ended.
func (m mate) again(ctx context.Context) error {
	return m.run(ctx, m.stack.binary, "worker", "-c", m.file)
}

// fleet starts workers of a group of their own.
func (s *stack) fleet(ctx context.Context, more ...string) (all []mate, err error) {
	group := s.unique("fleet")
	settings := fmt.Sprintf("group.id=%[1]s\nconfig.storage.topic=%[1]s-configs\noffset.storage.topic=%[1]s-offsets\nstatus.storage.topic=%[1]s-status\n", group) + jsonConverters
	for range fleetWorkers {
		file, url, err := s.properties(s.unique("member"), append(more, settings)...)
		if err != nil {
			return all, err
		}
		m := mate{&engine{name: "tidemill", stack: s, url: url}, file}
		if err := m.again(ctx); err != nil {
			return all, err
		}
		all = append(all, m)
	}
	return all, nil
}

// ended stops all of a fleet.
func ended(all []mate) {
	for _, m := range all {
		m.process.stop()
	}
}

// shared measures how a fleet shares its tasks anew when a worker leaves and comes back.
func (s *stack) shared(ctx context.Context, o options) error {
	all, err := s.fleet(ctx)
	if err != nil {
		return err
	}
	defer ended(all)
	for n := range sharedConnectors {
		if err := all[n%len(all)].created(ctx, idleName(n), idleConnector(n)); err != nil {
			return err
		}
	}
	first, leaver := all[0].engine, all[len(all)-1]
	if err := first.placed(ctx, sharedConnectors, len(all)); err != nil {
		return err
	}
	var left, joined []time.Duration
	for range o.rounds {
		began := time.Now()
		leaver.process.stop()
		if err := first.placed(ctx, sharedConnectors, len(all)-1); err != nil {
			return err
		}
		left = append(left, time.Since(began))
		began = time.Now()
		if err := leaver.again(ctx); err != nil {
			return err
		}
		if err := first.placed(ctx, sharedConnectors, len(all)); err != nil {
			return err
		}
		joined = append(joined, time.Since(began))
	}
	what := fmt.Sprintf("%d workers with %d tasks: ", fleetWorkers, sharedConnectors)
	seconds := func(all []time.Duration) float64 { return quantile(all, 0.5) / 1000 }
	o.report(figure{Name: "fleet.join", Unit: "s", Value: seconds(joined), What: what + "from the start of the last worker until each runs its share"}.held(false, 2))
	o.report(figure{Name: "fleet.leave", Unit: "s", Value: seconds(left), What: what + "from the signal to end for one until the others run all tasks"}.held(false, 2))
	return nil
}

func idleName(n int) string { return fmt.Sprintf("idle-%04d", n) }

func idleConnector(n int) map[string]string {
	return map[string]string{"connector.class": "tidemill.Datagen", "topic": idleName(n), "quickstart": "orders", "rate": "0"}
}

// timed does something n times and returns how long each took.
func timed(n int, do func(n int) error) (all []time.Duration, err error) {
	for i := range n {
		began := time.Now()
		if err := do(i); err != nil {
			return nil, err
		}
		all = append(all, time.Since(began))
	}
	return all, nil
}

// inMS is a figure of times: their median, and the shortest and the longest.
func inMS(name, what string, all []time.Duration) figure {
	slices.Sort(all)
	return figure{Name: name, Unit: "ms", Value: quantile(all, 0.5), Min: quantile(all, 0), Max: quantile(all, 1), What: what}
}

// validated has the engine validate a connector of a database that cannot be reached.
func (e *engine) validated(ctx context.Context) error {
	config := map[string]string{
		"connector.class": "io.debezium.connector.postgresql.PostgresConnector", "name": "none", "topic.prefix": "none", "plugin.name": "pgoutput",
		"database.hostname": "127.0.0.1", "database.port": "1", "database.user": "nobody", "database.password": "none", "database.dbname": "none",
	}
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	return e.do(ctx, http.MethodPut, "/connector-plugins/"+config["connector.class"]+"/config/validate", text)
}

// listing is what GET /connectors says with states.
type listing map[string]struct {
	Status struct {
		Connector placing   `json:"connector"`
		Tasks     []placing `json:"tasks"`
	} `json:"status"`
}

type placing struct {
	State  string `json:"state"`
	Worker string `json:"worker_id"`
}

// expanded lists all connectors with configurations and states.
func (e *engine) expanded(ctx context.Context) (listing, error) {
	resp, err := e.get(ctx, "/connectors?expand=info&expand=status")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: listing connectors: %s %s %w", e.name, resp.Status, text, err)
	}
	var list listing
	return list, json.Unmarshal(text, &list)
}

// placed waits until so many connectors and their tasks run, on so many workers, each of
// which has about as many tasks as the others.
func (e *engine) placed(ctx context.Context, connectors, workers int) error {
	for {
		list, err := e.expanded(ctx)
		if err != nil {
			return err
		}
		if list.even(connectors, workers) {
			return nil
		}
		if failed := list.failed(); failed != "" {
			return fmt.Errorf("%s: these have failed: %s", e.name, failed)
		}
		if err := rest(ctx, lookEvery); err != nil {
			return err
		}
	}
}

func (l listing) even(connectors, workers int) bool {
	shares := map[string]int{}
	for _, c := range l {
		if c.Status.Connector.State != "RUNNING" || len(c.Status.Tasks) != 1 || c.Status.Tasks[0].State != "RUNNING" {
			return false
		}
		shares[c.Status.Tasks[0].Worker]++
	}
	for _, n := range shares {
		if n > connectors/workers+1 {
			return false
		}
	}
	return len(l) == connectors && len(shares) == workers
}

func (l listing) failed() string {
	var names []string
	for name, c := range l {
		for _, p := range append(c.Status.Tasks, c.Status.Connector) {
			if p.State == "FAILED" {
				names = append(names, name)
			}
		}
	}
	return strings.Join(names, " ")
}
