package sql

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/streams/sql/functions"
)

// show executes SHOW and LIST.
func (e *Engine) show(ctx context.Context, s *session, st *show) (Entity, error) {
	cat := e.view()
	text := st.String() + ";"
	switch st.what {
	case "STREAMS", "TABLES":
		return showSources(cat, st.what == "TABLES", text), nil
	case "QUERIES":
		out := queriesEntity{head: newHead("queries", text), Queries: []queryInfo{}}
		for _, id := range cat.queryIDs() {
			out.Queries = append(out.Queries, e.queryInfo(cat.queries[id]))
		}
		return out, nil
	case "FUNCTIONS":
		return showFunctions(cat.functions(), text), nil
	case "TYPES":
		out := listEntity{head: newHead("type_list", text), Types: map[string]schemaInfo{}, headings: []string{"Type Name", "Schema"}}
		for _, n := range slices.Sorted(maps.Keys(cat.types)) {
			out.Types[n] = schemaOf(cat.types[n])
			out.rows = append(out.rows, []string{n, cat.types[n].String()})
		}
		return out, nil
	case "PROPERTIES":
		return settingsEntity("properties", text, "Property", s.properties), nil
	case "VARIABLES":
		return settingsEntity("variables", text, "Variable Name", s.variables), nil
	case "TOPICS":
		return e.showTopics(ctx, text)
	}
	return e.showConnectors(ctx, st.what, text)
}

func showSources(cat *catalog, tables bool, text string) Entity {
	kind := map[bool]string{true: "tables", false: "streams"}[tables]
	list := []sourceInfo{}
	for _, n := range cat.names() {
		if src := cat.sources[n]; src.table == tables {
			list = append(list, sourceInfo{Type: map[bool]string{true: "TABLE", false: "STREAM"}[tables], Name: n, Topic: src.topic, KeyFormat: src.keyFormat, ValueFormat: src.format, IsWindowed: src.windowing != nil})
		}
	}
	out := sourcesEntity{head: newHead(kind, text)}
	if tables {
		out.Tables = list
	} else {
		out.Streams = list
	}
	return out
}

func (e *Engine) queryInfo(q *persistent) queryInfo {
	state, _ := e.state(q)
	out := queryInfo{QueryString: q.statement + ";", ID: q.id, QueryType: "PERSISTENT", State: state, StatusCount: map[string]int{state: 1}, Sinks: []string{}, SinkKafkaTopics: []string{}}
	if q.plan.sink != nil {
		out.Sinks, out.SinkKafkaTopics = []string{q.plan.sink.name}, []string{q.plan.sink.topic}
	}
	return out
}

func showFunctions(library *functions.Library, text string) Entity {
	out := listEntity{head: newHead("function_names", text), headings: []string{"Function Name", "Category"}}
	for _, n := range library.Names() {
		info := functionInfo{Name: n, Type: "AGGREGATE", Category: "AGGREGATE"}
		if f, ok := library.Lookup(n); ok {
			info = functionInfo{Name: n, Type: scalarOrTable(f), Category: f.Category}
		}
		out.Functions = append(out.Functions, info)
		out.rows = append(out.rows, []string{n, info.Category})
	}
	return out
}

func scalarOrTable(f *functions.Function) string {
	if f.Category == functions.Table {
		return functions.Table
	}
	return "SCALAR"
}

func settingsEntity(kind, text, heading string, values map[string]string) Entity {
	out := listEntity{head: newHead(kind, text), headings: []string{heading, "Value"}}
	list := []propertyInfo{}
	for _, k := range slices.Sorted(maps.Keys(values)) {
		list = append(list, propertyInfo{Name: k, Value: values[k]})
		out.rows = append(out.rows, []string{k, values[k]})
	}
	if kind == "variables" {
		out.Variables = list
	} else {
		out.Properties = list
	}
	return out
}

func (e *Engine) showTopics(ctx context.Context, text string) (Entity, error) {
	names, err := e.config.Topics.List(ctx)
	if err != nil {
		return nil, err
	}
	out := listEntity{head: newHead("kafka_topics", text), Topics: []topicInfo{}, headings: []string{"Kafka Topic"}}
	for _, n := range names {
		out.Topics = append(out.Topics, topicInfo{n})
		out.rows = append(out.rows, []string{n})
	}
	return out, nil
}

func (e *Engine) showConnectors(ctx context.Context, what, text string) (Entity, error) {
	if e.config.Connectors == nil {
		return nil, noConnectors()
	}
	list, err := e.config.Connectors.List(ctx)
	if err != nil {
		return nil, err
	}
	out := listEntity{head: newHead("connector_list", text), Connectors: []ConnectorInfo{}, headings: []string{"Connector Name", "Type", "Class", "Status"}}
	for _, c := range list {
		if what == "SOURCE CONNECTORS" && c.Type != "source" || what == "SINK CONNECTORS" && c.Type != "sink" {
			continue
		}
		out.Connectors = append(out.Connectors, c)
		out.rows = append(out.rows, []string{c.Name, c.Type, c.ClassName, c.State})
	}
	return out, nil
}

func noConnectors() error {
	return &Error{Code: "sql.no_connectors", Message: "this engine runs without connectors", Hint: "use the connectors' REST interface of a worker"}
}

// createConnector executes CREATE CONNECTOR.
func (e *Engine) createConnector(ctx context.Context, st *createConnector) (Entity, error) {
	if e.config.Connectors == nil {
		return nil, noConnectors()
	}
	config := map[string]string{}
	for _, p := range st.with {
		config[p.text] = p.value.(*literal).text
	}
	if err := e.config.Connectors.Create(ctx, st.name.text, config); err != nil {
		return nil, err
	}
	return plainEntity{head: newHead("connector_info", st.String()+";"), Message: "Created connector " + st.name.text}, nil
}

// dropConnector executes DROP CONNECTOR.
func (e *Engine) dropConnector(ctx context.Context, st *drop) (Entity, error) {
	if e.config.Connectors == nil {
		return nil, noConnectors()
	}
	if err := e.config.Connectors.Drop(ctx, st.name.text); err != nil {
		return nil, err
	}
	return plainEntity{head: newHead("drop_connector", st.String()+";"), Message: "Dropped connector " + st.name.text}, nil
}

// describe executes DESCRIBE.
func (e *Engine) describe(ctx context.Context, st *describe, text string) (Entity, error) {
	cat := e.view()
	printed := st.String() + ";"
	switch st.what {
	case "FUNCTION":
		return describeFunction(cat.functions(), st, text)
	case "STREAMS", "TABLES":
		out := descriptionsEntity{head: newHead("source_descriptions", printed), Sources: []description{}}
		for _, n := range cat.names() {
			if s := cat.sources[n]; s.table == (st.what == "TABLES") {
				out.Sources = append(out.Sources, e.description(ctx, cat, s, st.extended))
			}
		}
		return out, nil
	case "CONNECTOR":
		return e.showConnectors(ctx, "CONNECTORS", printed)
	}
	s, err := cat.lookup(text, st.name)
	if err != nil {
		return nil, err
	}
	return descriptionEntity{head: newHead("sourceDescription", printed), Source: e.description(ctx, cat, s, st.extended), types: s.columns}, nil
}

// description tells of a source. What only the brokers know is told when extended
// is asked for, and left out when they cannot be reached.
func (e *Engine) description(ctx context.Context, cat *catalog, s *source, extended bool) description {
	d := description{Name: s.name, WindowType: s.windowing.name(), Fields: fieldsOf(s.columns), Type: map[bool]string{true: "TABLE", false: "STREAM"}[s.table],
		Extended: extended, KeyFormat: s.keyFormat, ValueFormat: s.format, Topic: s.topic, Statement: s.statement + ";",
		ReadQueries: []queryInfo{}, WriteQueries: []queryInfo{}, QueryOffsetSummaries: []string{}, SourceConstraints: []string{},
		ClusterStatistics: []string{}, ClusterErrorStats: []string{}}
	if s.timestamp != nil {
		d.Timestamp = s.timestamp.column
	}
	for _, id := range cat.readers(s.name) {
		d.ReadQueries = append(d.ReadQueries, e.queryInfo(cat.queries[id]))
	}
	for _, id := range cat.writers(s.name) {
		d.WriteQueries = append(d.WriteQueries, e.queryInfo(cat.queries[id]))
	}
	if extended {
		if n, err := e.config.Topics.Partitions(ctx, s.topic); err == nil {
			d.Partitions = n
		}
		d.Statistics = fmt.Sprintf("partitions: %d", d.Partitions)
	}
	return d
}

func describeFunction(library *functions.Library, st *describe, text string) (Entity, error) {
	out := functionEntity{head: newHead("describe_function", st.String()+";"), Name: upper(st.name.text)}
	var signatures []string
	if f, ok := library.Lookup(st.name.text); ok {
		out.Description, out.FunType, signatures = f.Doc, scalarOrTable(f), f.Signatures()
		for _, ex := range f.Examples {
			out.Examples = append(out.Examples, ex.SQL+" → "+ex.Want)
		}
	} else if f, ok := library.LookupAggregate(st.name.text); ok {
		out.Description, out.FunType, signatures = f.Doc, "AGGREGATE", f.Signatures()
		for _, ex := range f.Examples {
			out.Examples = append(out.Examples, ex.SQL+" of ("+strings.Join(ex.Rows, "), (")+") → "+ex.Want)
		}
	} else {
		return nil, fault(text, st.name.span, "sql.unknown_function", "there is no function "+st.name.text, didYouMean(st.name.text, library.Names()))
	}
	for _, sig := range signatures {
		out.Functions = append(out.Functions, functionVariant{sig})
	}
	return out, nil
}

// set executes SET, UNSET, DEFINE and UNDEFINE, which last as long as the session.
func (s *session) set(st *set) (Entity, error) {
	switch st.verb {
	case "SET":
		s.properties[st.key] = st.value
	case "UNSET":
		delete(s.properties, st.key)
	case "DEFINE":
		s.variables[st.key] = st.value
	case "UNDEFINE":
		delete(s.variables, st.key)
	default:
		return nil, &Error{Code: "sql.unsupported", Message: st.verb + " cannot be executed: settings of the server are in its configuration", Hint: "SET changes them for this session"}
	}
	return nil, nil
}

// explain executes EXPLAIN of a query or of the id of one that runs.
func (e *Engine) explain(st *explain, text string) (Entity, error) {
	cat := e.view()
	out := queryEntity{head: newHead("queryDescription", st.String()+";")}
	var p *plan
	var b *built
	if st.stmt == nil {
		q := cat.queries[st.id.text]
		if q == nil {
			return nil, fault(text, st.id.span, "sql.unknown_query", "there is no query "+st.id.text, didYouMean(st.id.text, cat.queryIDs()))
		}
		p, b = q.plan, q.built
		state, cause := e.state(q)
		out.Query = queryDescription{ID: q.id, Statement: q.statement + ";", QueryType: "PERSISTENT", Group: e.app(q.id), State: state}
		if cause != nil {
			out.Query.Errors = []string{cause.Error()}
		}
	} else {
		var err error
		if p, err = e.planned(cat, st.stmt, text); err != nil {
			return nil, err
		}
		if b, err = p.build(target{formats: e.config.Formats, failed: func(error) {}, emit: func(result) {}}); err != nil {
			return nil, err
		}
		out.Query = queryDescription{Statement: st.stmt.String() + ";", QueryType: "PUSH"}
	}
	out.Query.Fields, out.Query.Sources, out.Query.Sinks, out.Query.Window = fieldsOf(p.columns()), p.sources(), []string{}, p.windowing.name()
	if p.sink != nil {
		out.Query.Sinks = []string{p.sink.name}
	}
	out.Query.Plan = p.describe()
	if b != nil {
		out.Query.Topology = b.topology.Describe()
	}
	return out, nil
}

// planned analyses the query of a statement.
func (e *Engine) planned(cat *catalog, stmt Statement, text string) (*plan, error) {
	switch st := stmt.(type) {
	case *query:
		return analyzeQuery(text, st, cat, false)
	case *createAs:
		q, err := planAs(cat, &command{Statement: st.String()}, st, text, e.config.Formats)
		if err != nil {
			return nil, err
		}
		return q.plan, nil
	case *insertInto:
		q, err := planInsert(cat, &command{Statement: st.String()}, st, text)
		if err != nil {
			return nil, err
		}
		return q.plan, nil
	}
	return nil, fault(text, span{0, len(text)}, "sql.bad_clause", "EXPLAIN takes a query", "")
}
