package postgres

import (
	"encoding/hex"
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// The words of decimal.handling.mode, time.precision.mode and binary.handling.mode,
// as the codecs ask for them.
const (
	decimalsPrecise, decimalsDouble, decimalsString = 0, 1, 2

	timesAdaptive, timesAdaptiveMicros, timesConnect, timesISO, timesMicros, timesNanos, timesStructured = 0, 1, 2, 3, 4, 5, 6

	binaryBytes, binaryBase64, binaryBase64URL, binaryHex = 0, 1, 2, 3
)

// modes are the settings that shape values.
type modes struct {
	decimals, times, binary int
	intervalText, hstoreMap bool
	specialsNull            bool // decimal.special.values=null
	moneyScale              int
	prefix                  string // topic.prefix, with which names of schemas begin.
	unknown                 bool   // include.unknown.datatypes
	placeholder             string // unavailable.value.placeholder
	fallback                bool   // before.missing.values=fallback
	onFault                 string // event.converting.failure.handling.mode
	schemaName, fieldName   func(string) string
}

// settings are a task's settings, parsed once.
type settings struct {
	host, user, database string
	secrets              *secrets
	connector            string            // The connector's name, for what errors advise.
	cert, key            string            // Files with the client's certificate and its key.
	options              string            // Settings of the session, as -c name=value.
	port                 string            // Of each host, when there are several.
	role                 string            // What a server must be, of several.
	ssl                  map[string]string // sslmode and so on.
	initialStatements    []string
	connectTimeout       time.Duration
	dial                 Dial

	prefix, delimiter string
	naming            topicNaming
	slot, publication string
	publicationMode   string
	watchInterval     time.Duration
	gapAction         string // publication.gap.action
	newTables         bool   // new.tables.snapshot
	viaRoot           bool   // Only with viaRootGiven; otherwise it follows from the tables.
	viaRootGiven      bool
	slotDrop          bool
	slotFailover      bool
	streamParams      []string // Further options, as they stand in the command.
	streaming         bool     // transaction.streaming
	spillDir          string
	spillMost         int64
	format            string // stream.format
	noMessages        bool
	silence           time.Duration
	shutdownPatience  time.Duration
	slotRetries       int
	slotRetryWait     time.Duration
	confirm           bool // lsn.flush.mode is not manual.
	acceptGap         bool
	guard             guardSettings
	statusInterval    time.Duration

	filter *filter
	// ddlPrefix is the prefix of messages about changes of schema, empty without
	// ddl.capture; ddlSchema is where the event triggers live.
	ddlPrefix, ddlSchema string
	schemaRecords        bool // include.schema.changes
	// identities is replica.identity.autoset.values.
	identities []identityRule
	// mostTables is guardrail.collections.max; 0: no limit. mostTablesFail tells that
	// more of them are an error and not only a warning.
	mostTables     int
	mostTablesFail bool
	// tableEntries is table.include.list as it was given.
	tableEntries []string
	modes        *modes
	skipped      map[string]bool // Operations left out.
	fills        bool            // unavailable.value.mode=fill
	// skipUnchanged leaves out updates that change nothing.
	skipUnchanged bool
	tombstones    bool
	headers       bool

	transactionMetadata bool
	snapshotMetadata    bool
	transactionTopic    string

	heartbeat      time.Duration
	heartbeatTopic string
	heartbeatQuery string

	when                snapshotWhen
	snapshotKind        string
	snapshotThreads     int
	snapshotShares      int  // Pieces of a large table for each connection, at least.
	snapshotWhole       bool // Tables are read in one piece.
	snapshotLocks       bool
	snapshotLockTimeout time.Duration
	snapshotOrder       string
	snapshotDelay       time.Duration
	streamDelay         time.Duration
	selects             map[string]string // Statements of one's own, by schema.table.

	// What follows is about tables that are read beside the log.
	readOnly     bool
	chunkRows    int64
	chunkThreads int
	signals      signalSettings

	batchRecords, queueBatches int
	batchBytes                 int
	pollInterval               time.Duration
	retries                    int
	retryWait                  time.Duration
}

// newSettings parses a configuration. The error lists all faults.
func newSettings(config connect.Config) (*settings, error) {
	s, err := configDef().Parse(config)
	if err != nil {
		return nil, err
	}
	return buildSettings(s)
}

func buildSettings(s connect.Settings) (*settings, error) {
	f, err := newFilter(s)
	if err != nil {
		return nil, err
	}
	naming, _ := namingOf(s.String("topic.naming.strategy")) // It was checked with the settings.
	set := &settings{
		naming: naming,
		host:   s.String("database.hostname"), port: s.String("database.port"), user: s.String("database.user"),
		database: s.String("database.dbname"),
		ssl: map[string]string{
			"sslmode": strings.ToLower(s.String("database.sslmode")), "sslrootcert": s.String("database.sslrootcert"),
		},
		cert: s.String("database.sslcert"), key: s.String("database.sslkey"),
		secrets:           &secrets{password: s.String("database.password"), keyPassword: s.String("database.sslpassword")},
		initialStatements: splitStatements(s.String("database.initial.statements")), connectTimeout: s.Duration("connection.timeout.ms"),
		prefix: s.String("topic.prefix"), delimiter: s.String("topic.delimiter"),
		slot: s.String("slot.name"), publication: s.String("publication.name"), publicationMode: strings.ToLower(s.String("publication.autocreate.mode")),
		watchInterval: s.Duration("publication.watch.interval.ms"), gapAction: strings.ToLower(s.String("publication.gap.action")), newTables: s.Bool("new.tables.snapshot"),
		viaRoot: s.Bool("publish.via.partition.root"), viaRootGiven: s.Given("publish.via.partition.root"),
		slotDrop: s.Bool("slot.drop.on.stop"), slotFailover: s.Bool("slot.failover"),
		streaming: s.Bool("transaction.streaming"), spillDir: s.String("transaction.spill.dir"), spillMost: s.Int64("transaction.spill.max.bytes"),
		format: strings.ToLower(s.String("stream.format")), silence: max(time.Second, s.Duration("stream.silence.ms")),
		shutdownPatience: s.Duration("shutdown.patience.ms"),
		slotRetries:      s.Int("slot.max.retries"), slotRetryWait: s.Duration("slot.retry.delay.ms"),
		confirm:        strings.ToLower(s.String("lsn.flush.mode")) != "manual" && s.Bool("flush.lsn.source"),
		acceptGap:      strings.ToLower(s.String("offset.mismatch.strategy")) != "trust_offset",
		statusInterval: min(s.Duration("status.update.interval.ms"), 20*time.Second),
		tableEntries:   s.List("table.include.list"),
		mostTables:     s.Int("guardrail.collections.max"), mostTablesFail: strings.EqualFold(s.String("guardrail.collections.limit.action"), "fail"),
		guard: guardSettings{
			interval: s.Duration("wal.guard.interval.ms"), limit: s.Int64("wal.guard.max.bytes"), action: strings.ToLower(s.String("wal.guard.action")),
			xmin: s.Duration("xmin.fetch.interval.ms"),
		},
		filter: f, modes: newModes(s), skipped: map[string]bool{},
		fills:         strings.EqualFold(s.String("unavailable.value.mode"), "fill"),
		skipUnchanged: s.Bool("skip.messages.without.change"), tombstones: s.Bool("tombstones.on.delete"), headers: s.Bool("extended.headers.enabled"),
		transactionMetadata: s.Bool("provide.transaction.metadata"),
		snapshotMetadata:    s.Bool("provide.transaction.metadata") && s.Bool("transaction.metadata.snapshot"),
		transactionTopic:    s.String("topic.transaction"),
		heartbeat:           s.Duration("heartbeat.interval.ms"), heartbeatTopic: s.String("topic.heartbeat.name"), heartbeatQuery: s.String("heartbeat.action.query"),
		snapshotKind: strings.ToLower(s.String("snapshot.kind")), snapshotThreads: max(1, s.Int("snapshot.max.threads")),
		snapshotShares: max(1, s.Int("snapshot.max.threads.multiplier")), snapshotWhole: s.Bool("legacy.snapshot.max.threads"),
		snapshotLocks: strings.EqualFold(s.String("snapshot.locking.mode"), "shared"), snapshotLockTimeout: s.Duration("snapshot.lock.timeout.ms"),
		snapshotOrder: strings.ToLower(s.String("snapshot.tables.order.by.row.count")),
		snapshotDelay: s.Duration("snapshot.delay.ms"), streamDelay: s.Duration("streaming.delay.ms"), selects: map[string]string{},
		readOnly: s.Bool("read.only"), chunkRows: max(1, s.Int64("incremental.snapshot.chunk.size")), chunkThreads: min(16, max(1, s.Int("incremental.snapshot.max.threads"))),
		signals:      newSignalSettings(s),
		batchRecords: max(1, s.Int("max.batch.size")), pollInterval: max(time.Millisecond, s.Duration("poll.interval.ms")),
		retries: s.Int("errors.max.retries"), retryWait: s.Duration("retriable.restart.connector.wait.ms"),
	}
	set.connector, set.dial = s.Config()["name"], dial
	if set.heartbeatTopic == "" {
		set.heartbeatTopic = s.String("topic.heartbeat.prefix") + set.delimiter + set.prefix
	}
	return set, set.derive(s).OrNil()
}

// derive fills what follows from several settings and returns what does not fit.
func (set *settings) derive(s connect.Settings) (faults connect.Errors) {
	set.ddlSchema, set.schemaRecords = s.String("ddl.capture.schema"), s.Bool("include.schema.changes")
	if strings.EqualFold(s.String("ddl.capture"), "event_trigger") {
		set.ddlPrefix = ddlPrefix(set.ddlSchema)
	}
	set.identities, _ = parseIdentities(s.String("replica.identity.autoset.values")) // It was checked with the settings.
	faults = append(faults, set.passThrough(s.Config())...)
	for _, op := range s.List("skipped.operations") {
		switch op = strings.ToLower(op); op {
		case "c", "u", "d", "t", "none":
			set.skipped[op] = true
		default:
			faults = append(faults, connect.ConfigError("skipped.operations", "%q is none of c, u, d, t and none", op))
		}
	}
	for _, table := range s.List("snapshot.select.statement.overrides") {
		name := "snapshot.select.statement.overrides." + table
		if statement := s.Config()[name]; statement != "" {
			set.selects[table] = strings.TrimSuffix(strings.TrimSpace(statement), ";")
		} else {
			faults = append(faults, connect.ConfigError(name, "snapshot.select.statement.overrides names the table, but its statement is missing"))
		}
	}
	faults = append(faults, set.readStreamParams(splitTrimmed(s.String("slot.stream.params"), ";"))...)
	var wrong connect.Errors
	set.when, wrong = newSnapshotWhen(s)
	faults = append(faults, wrong...)
	if fault := set.deriveHosts(s.String("database.targetServerType"), strings.EqualFold(s.Config()["read.only"], "true")); fault != nil {
		faults = append(faults, fault)
	}
	faults = append(faults, set.resumableFaults()...)
	const defaultBytes, leastBytes = 16 << 20, 64 << 10
	bytes := s.Int64("max.queue.size.in.bytes")
	if bytes <= 0 {
		bytes = defaultBytes
	}
	set.queueBatches = min(max(1, s.Int("max.queue.size")/set.batchRecords), 64)
	// The batches in the queue, the one being filled and the one being taken share
	// the memory.
	set.batchBytes = max(leastBytes, int(bytes)/(set.queueBatches+2))
	return faults
}

func newModes(s connect.Settings) *modes {
	index := func(name string, words ...string) int {
		for i, w := range words {
			if strings.EqualFold(w, s.String(name)) {
				return i
			}
		}
		return 0
	}
	m := &modes{
		decimals:     index("decimal.handling.mode", "precise", "double", "string"),
		times:        index("time.precision.mode", "adaptive", "adaptive_time_microseconds", "connect", "isostring", "microseconds", "nanoseconds", "structured"),
		binary:       index("binary.handling.mode", "bytes", "base64", "base64-url-safe", "hex"),
		intervalText: index("interval.handling.mode", "numeric", "string") == 1,
		hstoreMap:    index("hstore.handling.mode", "json", "map") == 1,
		specialsNull: strings.EqualFold(s.String("decimal.special.values"), "null"),
		moneyScale:   s.Int("money.fraction.digits"),
		prefix:       s.String("topic.prefix"),
		unknown:      s.Bool("include.unknown.datatypes"),
		placeholder:  s.String("unavailable.value.placeholder"),
		fallback:     strings.EqualFold(s.String("before.missing.values"), "fallback"),
		onFault:      strings.ToLower(s.String("event.converting.failure.handling.mode")),
		schemaName:   nameAdjuster(s.String("schema.name.adjustment.mode"), true),
		fieldName:    nameAdjuster(s.String("field.name.adjustment.mode"), false),
	}
	if digits, ok := strings.CutPrefix(m.placeholder, "hex:"); ok {
		if b, err := hex.DecodeString(digits); err == nil {
			m.placeholder = string(b)
		}
	}
	return m
}

// splitStatements splits SQL at semicolons; two of them stand for one in the text.
func splitStatements(sql string) []string {
	const kept = "\x00"
	var list []string
	for _, part := range strings.Split(strings.ReplaceAll(sql, ";;", kept), ";") {
		if part = strings.TrimSpace(strings.ReplaceAll(part, kept, ";")); part != "" {
			list = append(list, part)
		}
	}
	return list
}
