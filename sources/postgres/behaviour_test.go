package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

// begun starts a task that reads the log only, and waits until it does.
func (d *testDB) begun(pairs ...string) *connecttest.SourceRun {
	d.tb.Helper()
	run := d.start(&connecttest.Offsets{}, append([]string{"snapshot.mode", "no_data"}, pairs...)...)
	d.streaming()
	return run
}

func (d *testDB) streaming() {
	d.tb.Helper()
	eventually(d.tb, "the log is read", func() bool {
		return d.get("SELECT count(*) FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid WHERE s.slot_name = $1 AND r.state = 'streaming'", d.slot) == "1"
	})
}

func TestReplicaIdentityFull(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TABLE f (id int PRIMARY KEY, n int NOT NULL, big text); ALTER TABLE f REPLICA IDENTITY FULL; ALTER TABLE f ALTER big SET STORAGE EXTERNAL`)
	d.exec(`CREATE TABLE nokey (a int, b text); ALTER TABLE nokey REPLICA IDENTITY FULL`)
	run := d.begun("skip.messages.without.change", "true")
	d.exec(`INSERT INTO f VALUES (1, 2, repeat('x', 9000))`)
	d.exec(`UPDATE f SET n = 3`)
	d.exec(`UPDATE f SET n = 3`)
	d.exec(`DELETE FROM f`)
	d.exec(`INSERT INTO nokey VALUES (1, 'x'); UPDATE nokey SET a = 2; DELETE FROM nokey`)
	records := run.Take(7)
	big := strings.Repeat("x", 9000)
	expectBrief(t, records,
		`f c {"id":1} null {"id":1,"n":2,"big":"`+big+`"}`,
		`f u {"id":1} {"id":1,"n":2,"big":"`+big+`"} {"id":1,"n":3,"big":"`+big+`"}`,
		`f d {"id":1} {"id":1,"n":3,"big":"`+big+`"} null`,
		`f  {"id":1}`,
		`nokey c null null {"a":1,"b":"x"}`,
		`nokey u null {"a":1,"b":"x"} {"a":2,"b":"x"}`,
		`nokey d null {"a":2,"b":"x"} null`)
	if s := records[0].ValueSchema.Fields()[0].Schema; s.Fields()[1].Schema.Optional() {
		t.Error("a NOT NULL column under REPLICA IDENTITY FULL is optional")
	}
}

func TestToastedValuesThatDoNotChange(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, n int, t text, b bytea, i int[])`)
	d.exec(`ALTER TABLE a ALTER t SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL, ALTER i SET STORAGE EXTERNAL`)
	run := d.begun("unavailable.value.placeholder", "gone")
	d.exec(`INSERT INTO a SELECT 1, 0, repeat('t', 9000), decode(repeat('ab', 9000), 'hex'), array_agg(g) FROM generate_series(1, 5000) g`)
	d.exec(`UPDATE a SET n = 1`)
	records := run.Take(2)
	if got := brief(&records[1]); got != `a u {"id":1} null {"id":1,"n":1,"t":"gone","b":"Z29uZQ==","i":[103,111,110,101]}` {
		t.Error(got)
	}
}

func TestIndexAsIdentityAndOwnKeys(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TABLE ix (id int PRIMARY KEY, code text NOT NULL UNIQUE, n int); ALTER TABLE ix REPLICA IDENTITY USING INDEX ix_code_key`)
	d.exec(`CREATE TABLE own (id int PRIMARY KEY, region text NOT NULL, n int); CREATE TABLE two (b int, a int, v text, PRIMARY KEY (a, b))`)
	d.exec(`INSERT INTO ix VALUES (0, 'snap', 1); INSERT INTO own VALUES (0, 'eu', 1); INSERT INTO two VALUES (2, 1, 'x')`)
	run := d.start(&connecttest.Offsets{}, "message.key.columns", `public.own:region,id`)
	records := run.Take(3)
	expectBrief(t, records,
		`ix r {"code":"snap"} null {"id":0,"code":"snap","n":1}`,
		`own r {"region":"eu","id":0} null {"id":0,"region":"eu","n":1}`,
		`two r {"a":1,"b":2} null {"b":2,"a":1,"v":"x"}`)
	d.exec(`INSERT INTO ix VALUES (1, 'c', 1); UPDATE ix SET n = 2 WHERE id = 1; UPDATE ix SET code = 'd' WHERE id = 1; DELETE FROM ix WHERE id = 1`)
	d.exec(`UPDATE own SET n = 5; UPDATE two SET v = 'y'`)
	expectBrief(t, run.Take(9),
		`ix c {"code":"c"} null {"id":1,"code":"c","n":1}`,
		`ix u {"code":"c"} null {"id":1,"code":"c","n":2}`,
		`ix d {"code":"c"} {"id":null,"code":"c","n":null} null __debezium.newkey={"code":"d"}`,
		`ix  {"code":"c"}`,
		`ix c {"code":"d"} null {"id":1,"code":"d","n":2} __debezium.oldkey={"code":"c"}`,
		`ix d {"code":"d"} {"id":null,"code":"d","n":null} null`,
		`ix  {"code":"d"}`,
		`own u {"region":"eu","id":0} null {"id":0,"region":"eu","n":5}`,
		`two u {"a":1,"b":2} null {"b":2,"a":1,"v":"y"}`)
}

func TestTruncateAndSkippedOperations(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)`)
	run := d.begun("skipped.operations", "u", "tombstones.on.delete", "false")
	d.exec(`INSERT INTO a VALUES (1)`)
	d.exec(`UPDATE a SET id = 2`)
	d.exec(`TRUNCATE a, b`)
	d.exec(`INSERT INTO a VALUES (3)`)
	d.exec(`DELETE FROM a`)
	records := run.Take(5)
	expectBrief(t, records, `a c {"id":1} null {"id":1}`, `a t null null null`, `b t null null null`, `a c {"id":3} null {"id":3}`, `a d {"id":3} {"id":3} null`)
	if records[1].KeySchema != nil || !records[1].Key.IsNull() {
		t.Error("a truncation has a key")
	}
	if got := d.get(`SELECT pubupdate::text || pubtruncate::text || pubinsert::text FROM pg_publication`); got != "falsetruetrue" {
		t.Error("the publication:", got)
	}
}

func TestFilters(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE SCHEMA other; CREATE TABLE other.x (id int PRIMARY KEY); CREATE TABLE a (id int PRIMARY KEY, secret text, name varchar(8), note text); CREATE TABLE unseen (id int PRIMARY KEY)`)
	d.exec(`INSERT INTO a VALUES (1, 's', 'Adalbert', 'a long note')`)
	run := d.start(&connecttest.Offsets{}, "table.include.list", `public\.A`, "column.exclude.list", "public.a.secret",
		"column.truncate.to.6.chars", "public.a.note", "column.mask.hash.v2.SHA-256.with.salt.abc", "public.a.name", "extended.headers.enabled", "true")
	records := run.Take(1)
	expectBrief(t, records, `a r {"id":1} null {"id":1,"name":"`+hashMask(hashFunc("SHA-256"), "abc", false)("Adalbert", 8)+`","note":"a long"} __debezium.context.connectorLogicalName="shop" __debezium.context.taskId="0" __debezium.context.connectorName="conformance"`)
	d.streaming()
	if got := d.get(`SELECT string_agg(schemaname || '.' || tablename, ',') FROM pg_publication_tables`); got != "public.a" {
		t.Errorf("the publication has %s", got)
	}
	d.exec(`ALTER PUBLICATION dbz_publication ADD TABLE unseen, other.x`)
	d.exec(`INSERT INTO unseen VALUES (1); INSERT INTO other.x VALUES (1); INSERT INTO a VALUES (2, 's', NULL, NULL)`)
	if got := run.Take(1)[0]; after(&got, "id").Int() != 2 {
		t.Error(brief(&got))
	}
}

func TestPartitionedTables(t *testing.T) {
	for _, viaRoot := range []string{"true", "false"} {
		t.Run(viaRoot, func(t *testing.T) {
			d := newTestDB(t)
			d.exec(`CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)`)
			d.exec(`CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child () INHERITS (parent)`)
			d.exec(`INSERT INTO p VALUES (1, 'a'), (11, 'b'); INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2)`)
			run := d.start(&connecttest.Offsets{}, "table.include.list", "public.p,public.parent", "publish.via.partition.root", viaRoot)
			names := map[string]int{}
			for _, r := range run.Take(3) {
				names[r.Topic]++
			}
			d.streaming()
			d.exec(`INSERT INTO p VALUES (2, 'c'), (12, 'd')`)
			for _, r := range run.Take(2) {
				names[r.Topic]++
			}
			want := map[string]string{"true": "map[shop.public.p:4 shop.public.parent:1]", "false": "map[shop.public.p1:2 shop.public.p2:2 shop.public.parent:1]"}[viaRoot]
			if got := fmt.Sprint(names); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
}

func TestSchemaChangesInOneTransaction(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text)`)
	run := d.begun()
	d.exec(`BEGIN; INSERT INTO a VALUES (1, 'x'); ALTER TABLE a ADD n int DEFAULT 7; INSERT INTO a VALUES (2, 'y', 8);
		ALTER TABLE a DROP v; INSERT INTO a VALUES (3, 9); ALTER TABLE a RENAME n TO m; INSERT INTO a VALUES (4, 10);
		ALTER TABLE a ALTER m TYPE text; INSERT INTO a VALUES (5, 't'); COMMIT`)
	expectBrief(t, run.Take(5), `a c {"id":1} null {"id":1,"v":"x"}`, `a c {"id":2} null {"id":2,"v":"y","n":8}`, `a c {"id":3} null {"id":3,"n":9}`,
		`a c {"id":4} null {"id":4,"m":10}`, `a c {"id":5} null {"id":5,"m":"t"}`)
}

// TestKeyFollowsTheLog changes the primary key and a NOT NULL before the task reads
// what was written under the old ones.
func TestKeyFollowsTheLog(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, k int NOT NULL, v text); ALTER TABLE a REPLICA IDENTITY FULL; CREATE TABLE b (id int PRIMARY KEY, k int NOT NULL)`)
	run := d.begun()
	run.Poll(100 * time.Millisecond)
	run.Stop()
	d.exec(`INSERT INTO a VALUES (1, 1, NULL); INSERT INTO b VALUES (1, 10)`)
	d.exec(`UPDATE a SET v = ''; ALTER TABLE a ALTER v SET NOT NULL; ALTER TABLE b DROP CONSTRAINT b_pkey; ALTER TABLE b ADD PRIMARY KEY (k)`)
	d.exec(`INSERT INTO b VALUES (2, 20)`)
	again := d.start(&connecttest.Offsets{}, "snapshot.mode", "no_data")
	expectBrief(t, again.Take(4), `a c {"id":1} null {"id":1,"k":1,"v":null}`, `b c {"id":1} null {"id":1,"k":10}`,
		`a u {"id":1} {"id":1,"k":1,"v":null} {"id":1,"k":1,"v":""}`, `b c {"k":20} null {"id":2,"k":20}`)
}

func TestEnumGrowsAndLogicalMessages(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE a (id int PRIMARY KEY, m mood)`)
	run := d.begun()
	d.exec(`INSERT INTO a VALUES (1, 'sad')`)
	d.exec(`SELECT pg_logical_emit_message(false, 'p', 'alone')`)
	d.exec(`BEGIN; SELECT pg_logical_emit_message(true, 'q', 'inside'); COMMIT`)
	d.exec(`ALTER TYPE mood ADD VALUE 'glad'`)
	d.exec(`INSERT INTO a VALUES (2, 'glad')`)
	records := run.Take(4)
	if records[1].Topic != "shop.message" || records[1].Value.Struct().Get("message").String() != `{"prefix":"p","content":"YWxvbmU="}` || !source(&records[1], "txId").IsNull() {
		t.Error(records[1].Value)
	}
	if records[2].Key.String() != `{"prefix":"q"}` || source(&records[2], "txId").IsNull() || records[2].Boundary != connect.BoundaryCommit {
		t.Error(records[2].Value)
	}
	if after(&records[3], "m").Str() != "glad" {
		t.Error(brief(&records[3]))
	}
	mood := records[3].ValueSchema.Fields()[1].Schema.Fields()[1].Schema
	if allowed, _ := mood.Param("allowed"); allowed != "sad,glad" {
		t.Errorf("the schema allows %s", allowed)
	}
	for i := range records {
		if err := records[i].ValueSchema.Check(records[i].Value); err != nil {
			t.Error(err)
		}
	}
}

// TestIdleDatabaseDoesNotKeepItsLog writes much that is not captured: the slot moves
// on, but only after marks have been committed.
func TestIdleDatabaseDoesNotKeepItsLog(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE busy (id int, v text)`)
	run := d.begun("table.include.list", "public.a")
	before := d.get("SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1", d.slot)
	d.exec(`INSERT INTO busy SELECT g, repeat('x', 100) FROM generate_series(1, 20000) g`)
	end := d.get("SELECT pg_current_wal_lsn()::text")
	var newest connect.Offset
	eventually(t, "a mark", func() bool {
		for _, r := range run.Poll(time.Second) {
			if r.Topic != "" {
				t.Errorf("a record of %s came", r.Topic)
			}
			newest = r.SourceOffset
		}
		return newest != nil && newest.(*position).end >= parseLSN([]byte(end))
	})
	if now := d.get("SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1", d.slot); now != before {
		t.Errorf("%s was confirmed before it was committed", now)
	}
	p, _ := partition("shop")
	if err := run.Task.(connect.Committer).Commit(context.Background(), map[connect.SourcePartition]connect.Offset{p: newest}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the slot moves on", func() bool {
		return d.get("SELECT confirmed_flush_lsn >= $2::pg_lsn FROM pg_replication_slots WHERE slot_name = $1", d.slot, end) == "true"
	})
}

func TestHeartbeats(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE beats (id int PRIMARY KEY, n int); INSERT INTO beats VALUES (1, 0)`)
	run := d.begun("table.include.list", "public.a", "heartbeat.interval.ms", "100", "heartbeat.action.query", "UPDATE beats SET n = n + 1")
	r := run.Take(1)[0]
	if r.Topic != "__debezium-heartbeat.shop" || r.Key.String() != `{"serverName":"shop"}` || r.ValueSchema.Name() != "io.debezium.connector.common.Heartbeat" {
		t.Error(r.Topic, r.Key)
	}
	eventually(t, "the query ran", func() bool { return d.get("SELECT n > 0 FROM beats") == "true" })
}

// TestTransactionMetadataOfSnapshots counts the rows of a snapshot, at the position that
// they have.
func TestTransactionMetadataOfSnapshots(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY);
		INSERT INTO a SELECT generate_series(1, 3); INSERT INTO b VALUES (1)`)
	var offsets connecttest.Offsets
	run := d.start(&offsets, "provide.transaction.metadata", "true", "transaction.metadata.snapshot", "true")
	records := run.Take(6)
	lsn, rows, ends := "", 0, 0
	for i := range records {
		if st := records[i].Value.Struct(); records[i].Topic != "shop.transaction" {
			rows++
			lsn = st.Get("source").Struct().Get("lsn").String()
			if !st.Get("transaction").IsNull() {
				t.Errorf("a row is in %v", st.Get("transaction"))
			}
		}
	}
	a, b := `{"data_collection":"public.a","event_count":3}`, `{"data_collection":"public.b","event_count":1}`
	for i := range records {
		if records[i].Topic != "shop.transaction" {
			continue
		}
		st := records[i].Value.Struct()
		if st.Get("id").Str() != "0:"+lsn+":initial" {
			t.Errorf("the snapshot at %s is %v", lsn, st)
		}
		if st.Get("status").Str() == "END" {
			ends++
			if counts := st.Get("data_collections").String(); counts != "["+a+","+b+"]" && counts != "["+b+","+a+"]" {
				t.Errorf("counted %s", counts)
			}
		}
	}
	if last := &records[5]; rows != 4 || ends != 1 || last.Topic == "shop.transaction" {
		t.Errorf("%d rows, %d ends, and at last %v", rows, ends, last.Topic)
	}
}

// TestTransactionMetadataOfBlockingSnapshots writes all the time, so that the stream comes
// to the view of a blocking snapshot between two transactions: the end of the snapshot is
// at the position of its rows all the same.
func TestTransactionMetadataOfBlockingSnapshots(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id serial PRIMARY KEY); INSERT INTO a SELECT FROM generate_series(1, 3)`)
	c := newSignalled()
	var offsets connecttest.Offsets
	run := d.startSignalled(c, &offsets, "snapshot.mode", "no_data", "table.include.list", "public.a", "provide.transaction.metadata", "true", "transaction.metadata.snapshot", "true")
	d.streaming()
	writer, stop, wrote := d.session(), make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				wrote <- nil
				return
			default:
			}
			if _, err := writer.Exec(context.Background(), `INSERT INTO a DEFAULT VALUES`); err != nil {
				wrote <- err
				return
			}
		}
	}()
	for range 3 {
		c.send("execute-snapshot", `{"type":"blocking","data-collections":["public.a"]}`)
		ends, lsns := 0, map[string]bool{}
		for last := false; ends < 1 || !last; {
			r := run.Take(1)[0]
			st := r.Value.Struct()
			if r.Topic == "shop.transaction" {
				lsn, snapshot := strings.CutPrefix(st.Get("id").Str(), "0:")
				if snapshot && st.Get("status").Str() == "END" {
					ends, lsns[lsn] = ends+1, true
				}
			} else if mark := source(&r, "snapshot").Str(); mark != "false" {
				lsns[source(&r, "lsn").String()] = true
				last = mark == "last"
			}
		}
		if len(lsns) != 1 {
			t.Errorf("the snapshot is at %v", lsns)
		}
	}
	close(stop)
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}

func TestTransactionMetadata(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); CREATE TABLE c (id int)`)
	run := d.begun("provide.transaction.metadata", "true", "table.include.list", "public.a,public.b")
	d.exec(`BEGIN; INSERT INTO c VALUES (1); COMMIT`)
	d.exec(`BEGIN; INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); UPDATE a SET id = 2; COMMIT`)
	records := run.Take(7)
	id := records[0].Key.Struct().Get("id").Str()
	for i, want := range []string{
		`BEGIN`, `{"id":"` + id + `","total_order":1,"data_collection_order":1}`, `{"id":"` + id + `","total_order":2,"data_collection_order":1}`,
		`{"id":"` + id + `","total_order":3,"data_collection_order":2}`, ``, `{"id":"` + id + `","total_order":4,"data_collection_order":3}`, `END`,
	} {
		switch r := &records[i]; {
		case want == "BEGIN" || want == "END":
			if r.Topic != "shop.transaction" || r.Value.Struct().Get("status").Str() != want {
				t.Errorf("record %d: %s %v", i, r.Topic, r.Value)
			}
		case want == "":
			if !r.Value.IsNull() {
				t.Errorf("record %d: %v", i, r.Value)
			}
		case r.Value.Struct().Get("transaction").String() != want:
			t.Errorf("record %d: %v", i, r.Value)
		}
	}
	if got := records[6].Value.Struct().Get("data_collections").String(); got != `[{"data_collection":"public.a","event_count":3},{"data_collection":"public.b","event_count":1}]` || records[6].Boundary != connect.BoundaryCommit {
		t.Error(got)
	}
	run.Stop()
	var offsets connecttest.Offsets
	offsets.Put(records[2].SourcePartition, records[2].SourceOffset.AppendJSON(nil))
	again := d.start(&offsets, "provide.transaction.metadata", "true", "table.include.list", "public.a,public.b")
	rest := again.Take(4)
	for i := range rest {
		if i != 1 && rest[i].Value.Struct().String() != records[3+i].Value.Struct().String() && rest[i].Topic == "shop.transaction" {
			t.Errorf("resumed, record %d is %v", i, rest[i].Value)
		}
		if rest[i].Topic != "shop.transaction" && !rest[i].Value.IsNull() && !rest[i].Value.Struct().Get("transaction").Equal(records[3+i].Value.Struct().Get("transaction")) {
			t.Errorf("resumed, record %d is %v", i, rest[i].Value)
		}
	}
}
