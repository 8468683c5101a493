package postgres

import (
	"context"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/failpoint"
)

// positions keeps how far each partition has come in a table of the target, moved
// in one transaction with the rows. It is unused without a table.
type positions struct {
	session   *session
	table     tableName
	connector string
	next      map[connect.TopicPartition]int64 // As stored; of the partitions opened.
}

// move is how far a batch takes one partition.
type move struct {
	partition connect.TopicPartition
	from, to  int64
}

func newPositions(s *session, table, connector string) *positions {
	p := &positions{session: s, connector: connector, next: map[connect.TopicPartition]int64{}}
	if schema, name, ok := strings.Cut(table, "."); ok {
		p.table = tableName{schema, name}
	} else {
		p.table = tableName{name: table}
	}
	return p
}

func (p *positions) used() bool { return p.table.name != "" }

// open makes the table, if it is missing, and reads where the partitions stand.
func (p *positions) open(ctx context.Context, c *catalog, partitions []connect.TopicPartition) error {
	found, err := c.load(ctx, p.table)
	if err != nil {
		return err
	}
	if found == nil {
		create := "CREATE TABLE IF NOT EXISTS " + p.table.String() +
			" (connector text NOT NULL, topic text NOT NULL, partition integer NOT NULL, next_offset bigint NOT NULL, PRIMARY KEY (connector, topic, partition))"
		if err := c.change(ctx, p.table, create); err != nil {
			return err
		}
	}
	for _, tp := range partitions {
		args := []string{p.connector, tp.Topic, strconv.Itoa(int(tp.Partition))}
		_, err := p.session.query(ctx, "INSERT INTO "+p.table.String()+" VALUES ($1, $2, $3::integer, 0) ON CONFLICT DO NOTHING", args...)
		if err != nil {
			return explain(err, p.table.plain())
		}
		rows, err := p.session.query(ctx, "SELECT next_offset FROM "+p.table.String()+" WHERE connector = $1 AND topic = $2 AND partition = $3::integer", args...)
		if err != nil {
			return explain(err, p.table.plain())
		}
		if len(rows) > 0 {
			p.next[tp], err = strconv.ParseInt(rows[0][0], 10, 64)
		}
		if err != nil {
			return fatal("pgsink.positions", p.table.plain(), "the table holds a position that is no number", "")
		}
	}
	return nil
}

// unseen leaves out the records that were written before. The slice is the worker's,
// so it is copied where something is left out.
func (p *positions) unseen(records []connect.SinkRecord) []connect.SinkRecord {
	fresh := records
	for i := range records {
		seen := records[i].Offset < p.next[partitionOf(&records[i])]
		if seen && len(fresh) == len(records) {
			fresh = append([]connect.SinkRecord(nil), records[:i]...)
		} else if !seen && len(fresh) < len(records) {
			fresh = append(fresh, records[i])
		}
	}
	return fresh
}

func partitionOf(r *connect.SinkRecord) connect.TopicPartition {
	return connect.TopicPartition{Topic: r.OriginalTopic, Partition: r.OriginalPartition}
}

// moves returns how far the records take each partition.
func (p *positions) moves(records []connect.SinkRecord) []move {
	var list []move
	for i := range records {
		tp, to := partitionOf(&records[i]), records[i].Offset+1
		at := 0
		for at < len(list) && list[at].partition != tp {
			at++
		}
		if at == len(list) {
			list = append(list, move{partition: tp, from: p.next[tp]})
		}
		list[at].to = to
	}
	return list
}

// advance moves the positions within the transaction that is open. A position that
// is not where it was left means that another task has taken the partition over.
func (p *positions) advance(ctx context.Context, moves []move) error {
	failpoint.At("sink.positions")
	for _, m := range moves {
		rows, err := p.session.query(ctx, "UPDATE "+p.table.String()+" SET next_offset = $4::bigint WHERE connector = $1 AND topic = $2 AND partition = $3::integer AND next_offset = $5::bigint RETURNING 1",
			p.connector, m.partition.Topic, strconv.Itoa(int(m.partition.Partition)), strconv.FormatInt(m.to, 10), strconv.FormatInt(m.from, 10))
		if err != nil {
			return explain(err, p.table.plain())
		}
		if len(rows) != 1 {
			return &connect.Error{
				Code: "pgsink.fenced", Class: connect.ClassFatal, Place: m.partition.String(),
				Message: "another task has written this partition's records meanwhile; nothing was written twice", Mend: "restart the task, unless it is no longer assigned",
			}
		}
	}
	return nil
}

// moved notes positions that were committed.
func (p *positions) moved(moves []move) {
	for _, m := range moves {
		p.next[m.partition] = m.to
	}
}
