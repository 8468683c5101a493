package postgres

import (
	"context"
	"errors"
	"maps"

	"github.com/tidemill/tidemill/connect"
)

// task writes the records of its partitions. All its methods are called by one
// goroutine.
type task struct {
	defaults  defaults
	env       connect.SinkTaskEnv
	options   options
	session   *session
	planner   *planner
	writer    *writer
	positions *positions
	letters   []func(context.Context) error // Errant records under way.
}

// Start reads the settings and connects, so that what is wrong is known at once.
func (t *task) Start(ctx context.Context, env connect.SinkTaskEnv) error {
	o, settings, err := parse(t.defaults, env.Config)
	if err != nil {
		return err
	}
	config, err := connConfig(settings, env.Connector)
	if err != nil {
		return err
	}
	t.env, t.options = env, o
	t.session = &session{config: config}
	table := o.offsets
	if env.Replays {
		table = "" // Letters lie behind the positions, which are not theirs to move.
	}
	t.positions = newPositions(t.session, table, env.Connector)
	t.writer = &writer{session: t.session, positions: t.positions, settle: t.settle, limit: o.batchSize, bytes: maxStatement}
	t.planner = &planner{
		options: o, naming: newNaming(o), catalog: &catalog{session: t.session},
		unavailable: newUnavailable(o.placeholder), metrics: env.Metrics,
	}
	return t.connect(ctx)
}

// connect makes sure of the connection. On a new one everything is looked up anew.
func (t *task) connect(ctx context.Context) error {
	opened, err := t.session.ready(ctx)
	if err != nil || !opened {
		return err
	}
	t.planner.forget()
	if !t.positions.used() || len(t.positions.next) == 0 {
		return nil
	}
	// What was committed last may not have been heard of before the connection broke.
	var partitions []connect.TopicPartition
	for tp := range t.positions.next {
		partitions = append(partitions, tp)
	}
	return t.positions.open(ctx, t.planner.catalog, partitions)
}

// Open implements connect.PartitionOpener. Where the positions are kept in the
// target, they say where to begin.
func (t *task) Open(ctx context.Context, partitions []connect.TopicPartition) error {
	if !t.positions.used() {
		return nil
	}
	err := t.readPositions(ctx, partitions)
	if err != nil && connect.AsError(err).Class == connect.ClassRetriable && t.session.lost() {
		// The connection had been lost while nothing was done with it.
		err = t.readPositions(ctx, partitions)
	}
	if err != nil {
		return err
	}
	seek := map[connect.TopicPartition]int64{}
	for _, tp := range partitions {
		if next := t.positions.next[tp]; next > 0 {
			seek[tp] = next
		}
	}
	if len(seek) > 0 {
		t.env.Consumer.Seek(seek)
	}
	return nil
}

func (t *task) readPositions(ctx context.Context, partitions []connect.TopicPartition) error {
	if err := t.connect(ctx); err != nil {
		return err
	}
	return t.positions.open(ctx, t.planner.catalog, partitions)
}

// Close implements connect.PartitionOpener.
func (t *task) Close(_ context.Context, partitions []connect.TopicPartition) error {
	maps.DeleteFunc(t.positions.next, func(tp connect.TopicPartition, _ int64) bool {
		for _, lost := range partitions {
			if tp == lost {
				return true
			}
		}
		return false
	})
	return nil
}

// Put writes the records in one transaction. A table that is not what it was is
// looked at again, once.
func (t *task) Put(ctx context.Context, records []connect.SinkRecord) error {
	if len(records) == 0 {
		return nil
	}
	if err := t.connect(ctx); err != nil {
		return err
	}
	if t.positions.used() {
		if records = t.positions.unseen(records); len(records) == 0 {
			return nil
		}
	}
	err := t.put(ctx, records)
	switch stateOf(err) {
	case stateUndefinedColumn, stateUndefinedTable, stateNoConflictIndex, stateWrongType:
		t.planner.forget()
		err = t.put(ctx, records)
	}
	if err != nil && connect.AsError(err).Class == connect.ClassFatal {
		t.planner.forget() // Whoever mends the table need not restart the task.
	}
	return err
}

func (t *task) put(ctx context.Context, records []connect.SinkRecord) error {
	changes, bad, err := t.read(ctx, records)
	if err != nil {
		return err
	}
	var moves []move
	if t.positions.used() {
		moves = t.positions.moves(records)
		if err := t.settle(ctx, bad); err != nil {
			return err
		}
		bad = nil
	}
	if len(changes) > 0 || len(moves) > 0 {
		err = t.writer.write(ctx, changes, moves)
	}
	if err != nil && connect.AsError(err).Class == connect.ClassRecord && len(changes) > 0 {
		var refusals []refused
		refusals, err = t.writer.sift(ctx, changes, moves, t.env.Errant != nil)
		bad = append(bad, refusals...)
	}
	if err != nil {
		return err
	}
	t.positions.moved(moves)
	t.env.Metrics.Add("rows_written_total", int64(len(changes)))
	return t.report(ctx, bad)
}

// read returns what the records mean, and those that mean nothing that could be
// written. Without someone to report them to, the first of them is an error.
func (t *task) read(ctx context.Context, records []connect.SinkRecord) ([]change, []refused, error) {
	rd := reader{planner: t.planner, options: t.options}
	changes := make([]change, 0, len(records))
	var bad []refused
	for i := range records {
		r := &records[i]
		c, ok, err := rd.read(ctx, r)
		if err != nil {
			if connect.AsError(err).Class != connect.ClassRecord {
				return nil, nil, err
			}
			err = atRecord(err, r)
			if t.env.Errant == nil {
				return nil, nil, err
			}
			bad = append(bad, refused{r, err})
			continue
		}
		if ok {
			changes = append(changes, c)
		}
	}
	return changes, bad, nil
}

// report hands over what could not be written, now that all else is.
func (t *task) report(ctx context.Context, bad []refused) error {
	for _, b := range bad {
		wait, err := t.env.Errant.Report(ctx, b.record, b.cause)
		if err != nil {
			return err
		}
		t.letters = append(t.letters, wait)
		t.env.Metrics.Add("rows_refused_total", 1)
	}
	return nil
}

// settle reports and waits until the letters are durable. Positions kept in the target
// pass a record for good: what is refused must not depend on its being put again.
func (t *task) settle(ctx context.Context, bad []refused) error {
	if err := t.report(ctx, bad); err != nil {
		return err
	}
	return t.awaitLetters(ctx)
}

// PreCommit implements connect.PreCommitter. Everything put is committed; the
// letters about what could not be written must be durable as well.
func (t *task) PreCommit(ctx context.Context, offsets map[connect.TopicPartition]int64) (map[connect.TopicPartition]int64, error) {
	if err := t.awaitLetters(ctx); err != nil {
		return nil, err
	}
	return offsets, nil
}

func (t *task) awaitLetters(ctx context.Context) error {
	for len(t.letters) > 0 {
		if wait := t.letters[0]; wait != nil {
			if err := wait(ctx); err != nil {
				return err
			}
		}
		t.letters = t.letters[1:]
	}
	return nil
}

// Stop closes the connection.
func (t *task) Stop(ctx context.Context) error {
	if t.session == nil {
		return nil
	}
	err := t.session.close(ctx)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}
