package sql

import (
	"strings"

	"github.com/tidemill/tidemill/streams/sql/functions"
)

// Entity is the answer to one statement. Written as JSON it is what ksqlDB's REST
// interface answers.
type Entity interface {
	// Kind is the entity's type, such as currentStatus or streams.
	Kind() string
	// Table gives the entity as rows of text under headings, for people.
	Table() (headings []string, rows [][]string)
}

// head begins every entity.
type head struct {
	Type      string    `json:"@type"`
	Statement string    `json:"statementText"`
	Warnings  []warning `json:"warnings"`
}

type warning struct {
	Message string `json:"message"`
}

func newHead(kind, statement string) head {
	return head{Type: kind, Statement: statement, Warnings: []warning{}}
}

// Kind implements Entity.
func (h head) Kind() string { return h.Type }

// statusEntity answers statements that change something.
type statusEntity struct {
	head
	CommandID       string        `json:"commandId"`
	CommandStatus   commandStatus `json:"commandStatus"`
	CommandSequence int           `json:"commandSequenceNumber"`
}

type commandStatus struct {
	Status  string `json:"status"`
	Message string `json:"message"`
	QueryID string `json:"queryId,omitempty"`
}

// status makes the answer to a change. what and action stand in the command's id.
func status(c *command, what, name, action, message string) statusEntity {
	return statusEntity{
		head: newHead("currentStatus", c.Statement+";"), CommandID: strings.ToLower(what) + "/" + functions.Quote(name) + "/" + action,
		CommandStatus: commandStatus{Status: "SUCCESS", Message: message, QueryID: c.QueryID}, CommandSequence: c.Sequence,
	}
}

// Table implements Entity.
func (e statusEntity) Table() ([]string, [][]string) {
	return []string{"Message"}, [][]string{{e.CommandStatus.Message}}
}

// sourceInfo is a stream or table in a list.
type sourceInfo struct {
	Type        string `json:"type"`
	Name        string `json:"name"`
	Topic       string `json:"topic"`
	KeyFormat   string `json:"keyFormat"`
	ValueFormat string `json:"valueFormat"`
	IsWindowed  bool   `json:"isWindowed"`
}

// sourcesEntity answers SHOW STREAMS or SHOW TABLES.
type sourcesEntity struct {
	head
	Streams []sourceInfo `json:"streams,omitzero"`
	Tables  []sourceInfo `json:"tables,omitzero"`
}

// Table implements Entity.
func (e sourcesEntity) Table() ([]string, [][]string) {
	var out [][]string
	for _, s := range append(e.Streams, e.Tables...) {
		out = append(out, []string{s.Name, s.Topic, s.KeyFormat, s.ValueFormat})
	}
	return []string{"Name", "Kafka Topic", "Key Format", "Value Format"}, out
}

// queryInfo is a query in a list.
type queryInfo struct {
	QueryString     string         `json:"queryString"`
	Sinks           []string       `json:"sinks"`
	SinkKafkaTopics []string       `json:"sinkKafkaTopics"`
	ID              string         `json:"id"`
	StatusCount     map[string]int `json:"statusCount"`
	QueryType       string         `json:"queryType"`
	State           string         `json:"state"`
}

type queriesEntity struct {
	head
	Queries []queryInfo `json:"queries"`
}

// Table implements Entity.
func (e queriesEntity) Table() ([]string, [][]string) {
	var out [][]string
	for _, q := range e.Queries {
		out = append(out, []string{q.ID, q.QueryType, q.State, strings.Join(q.Sinks, ","), strings.Join(q.SinkKafkaTopics, ","), q.QueryString})
	}
	return []string{"Query ID", "Query Type", "Status", "Sink Name", "Sink Kafka Topic", "Query String"}, out
}

// schemaInfo is a type as ksqlDB's answers write it.
type schemaInfo struct {
	Type         string         `json:"type"`
	Fields       []fieldInfo    `json:"fields"`
	MemberSchema *schemaInfo    `json:"memberSchema"`
	Parameters   map[string]int `json:"parameters,omitempty"`
}

// fieldInfo is a column or a field. Type is KEY for key columns.
type fieldInfo struct {
	Name   string     `json:"name"`
	Schema schemaInfo `json:"schema"`
	Type   string     `json:"type,omitempty"`
	Header string     `json:"headerKey,omitempty"`
}

func schemaOf(t functions.Type) schemaInfo {
	out := schemaInfo{Type: t.Kind.String()}
	switch t.Kind {
	case functions.Decimal:
		out.Parameters = map[string]int{"precision": t.Precision, "scale": t.Scale}
	case functions.Array, functions.Map:
		member := schemaOf(*t.Elem)
		out.MemberSchema = &member
	case functions.Struct:
		out.Fields = []fieldInfo{}
		for _, f := range t.Fields {
			out.Fields = append(out.Fields, fieldInfo{Name: f.Name, Schema: schemaOf(f.Type)})
		}
	}
	return out
}

func fieldsOf(columns []column) []fieldInfo {
	out := []fieldInfo{}
	for _, c := range columns {
		f := fieldInfo{Name: c.name, Schema: schemaOf(c.typ)}
		if c.key {
			f.Type = "KEY"
		}
		if c.header != "" {
			f.Type = "HEADER"
			if c.header != "*" {
				f.Header = c.header
			}
		}
		out = append(out, f)
	}
	return out
}

// description is what DESCRIBE tells of a source.
type description struct {
	Name                 string      `json:"name"`
	WindowType           *string     `json:"windowType"`
	ReadQueries          []queryInfo `json:"readQueries"`
	WriteQueries         []queryInfo `json:"writeQueries"`
	Fields               []fieldInfo `json:"fields"`
	Type                 string      `json:"type"`
	Timestamp            string      `json:"timestamp"`
	Statistics           string      `json:"statistics"`
	ErrorStats           string      `json:"errorStats"`
	Extended             bool        `json:"extended"`
	KeyFormat            string      `json:"keyFormat"`
	ValueFormat          string      `json:"valueFormat"`
	Topic                string      `json:"topic"`
	Partitions           int         `json:"partitions"`
	Replication          int         `json:"replication"`
	Statement            string      `json:"statement"`
	QueryOffsetSummaries []string    `json:"queryOffsetSummaries"`
	SourceConstraints    []string    `json:"sourceConstraints"`
	ClusterStatistics    []string    `json:"clusterStatistics"`
	ClusterErrorStats    []string    `json:"clusterErrorStats"`
}

type descriptionEntity struct {
	head
	Source description `json:"sourceDescription"`
	types  []column
}

// Table implements Entity.
func (e descriptionEntity) Table() ([]string, [][]string) {
	var out [][]string
	for _, c := range e.types {
		text := c.typ.String()
		switch {
		case c.key && e.Source.Type == "TABLE":
			text += " (primary key)"
		case c.key:
			text += " (key)"
		case c.header != "":
			text += " (headers)"
		}
		if w := e.Source.WindowType; w != nil && c.key {
			text += " (Window type: " + *w + ")"
		}
		out = append(out, []string{c.name, text})
	}
	return []string{"Field", "Type"}, out
}

type descriptionsEntity struct {
	head
	Sources []description `json:"sourceDescriptions"`
}

// Table implements Entity.
func (e descriptionsEntity) Table() ([]string, [][]string) {
	var out [][]string
	for _, s := range e.Sources {
		out = append(out, []string{s.Name, s.Type, s.Topic})
	}
	return []string{"Name", "Type", "Kafka Topic"}, out
}

// listEntity answers statements that list names: key says under which name.
type listEntity struct {
	head
	Functions  []functionInfo        `json:"functions,omitzero"`
	Topics     []topicInfo           `json:"topics,omitzero"`
	Types      map[string]schemaInfo `json:"types,omitzero"`
	Properties []propertyInfo        `json:"properties,omitzero"`
	Variables  []propertyInfo        `json:"variables,omitzero"`
	Connectors []ConnectorInfo       `json:"connectors,omitzero"`
	headings   []string
	rows       [][]string
}

type functionInfo struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Category string `json:"category"`
}

type topicInfo struct {
	Name string `json:"name"`
}

type propertyInfo struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Table implements Entity.
func (e listEntity) Table() ([]string, [][]string) { return e.headings, e.rows }

// functionEntity answers DESCRIBE FUNCTION.
type functionEntity struct {
	head
	Name        string            `json:"name"`
	Description string            `json:"description"`
	FunType     string            `json:"type"`
	Functions   []functionVariant `json:"functions"`
	Examples    []string          `json:"examples,omitempty"`
}

type functionVariant struct {
	Signature string `json:"signature"`
}

// Table implements Entity.
func (e functionEntity) Table() ([]string, [][]string) {
	out := [][]string{{e.Description}}
	for _, f := range e.Functions {
		out = append(out, []string{f.Signature})
	}
	return []string{e.Name}, out
}

// queryEntity answers EXPLAIN.
type queryEntity struct {
	head
	Query queryDescription `json:"queryDescription"`
}

type queryDescription struct {
	ID        string            `json:"id"`
	Statement string            `json:"statementText"`
	Window    *string           `json:"windowType"`
	Fields    []fieldInfo       `json:"fields"`
	Sources   []string          `json:"sources"`
	Sinks     []string          `json:"sinks"`
	Topology  string            `json:"topology"`
	Plan      string            `json:"executionPlan"`
	Overrides map[string]string `json:"overriddenProperties"`
	QueryType string            `json:"queryType"`
	Errors    []string          `json:"queryErrors"`
	Group     string            `json:"consumerGroupId"`
	State     string            `json:"state"`
}

// Table implements Entity.
func (e queryEntity) Table() ([]string, [][]string) {
	return []string{"Plan"}, [][]string{{e.Query.Plan}, {e.Query.Topology}}
}

// plainEntity answers statements that need no more than a sentence.
type plainEntity struct {
	head
	Message string `json:"message"`
}

// Table implements Entity.
func (e plainEntity) Table() ([]string, [][]string) {
	return []string{"Message"}, [][]string{{e.Message}}
}
