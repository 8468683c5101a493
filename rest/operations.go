package rest

import (
	"encoding/json"
	"maps"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/worker"
)

// scalar is a text, number or truth, all of which settings may be written as, or null.
type scalar any

// newConnector is the body of POST /connectors.
type newConnector struct {
	Name         string            `json:"name"`
	Config       map[string]scalar `json:"config"`
	InitialState string            `json:"initial_state,omitempty"`
}

// newLevel is the body of PUT /admin/loggers/{logger}.
type newLevel struct {
	Level string `json:"level"`
}

// signalBody is the body of POST /connectors/{name}/signals.
type signalBody struct {
	ID   string                     `json:"id,omitempty"`
	Type string                     `json:"type"`
	Data map[string]json.RawMessage `json:"data,omitempty"`
}

// operations says of every route what the table of routes does not, by method and path. A
// test names those that are missing, and those that are no more.
func operations() map[string]operation {
	all := map[string]operation{}
	for _, some := range []map[string]operation{rootOperations(), connectorOperations(), stateOperations(), workOperations(), pluginOperations(), sqlOperations()} {
		maps.Copy(all, some)
	}
	return all
}

// expandFailure asks for more than Kafka Connect shows.
var expandFailure = parameter{"expand", "string[]", "failure: also why something failed, and when it is tried again"}

func rootOperations() map[string]operation {
	return map[string]operation{
		"GET /{$}":                    {summary: "Version of Kafka Connect that is spoken, and the Kafka cluster; for browsers a page, or the way to the UI", answers: map[int]any{200: worker.ServerInfo{}, 302: nil}},
		"GET /health":                 {summary: "Whether the worker is ready; a failed connector does not make it unhealthy", answers: map[int]any{200: healthBody{}, 500: healthBody{}, 503: healthBody{}}},
		"GET /openapi.json":           {summary: "This description", answers: map[int]any{200: object{}}},
		"GET /metrics":                {summary: "Figures for Prometheus", answers: map[int]any{200: text("text/plain")}},
		"GET /ui/{path...}":           {summary: "The web interface", answers: map[int]any{200: text("text/html")}},
		"GET /admin/loggers":          {summary: "Log levels", answers: map[int]any{200: map[string]levelBody{}}},
		"GET /admin/loggers/{logger}": {summary: "Log level of one logger", answers: map[int]any{200: levelBody{}}},
		"PUT /admin/loggers/{logger}": {
			summary: "Change the log level of a logger and of those below it; answered with their names", body: newLevel{}, answers: map[int]any{200: []string{}, 204: nil},
			query: []parameter{{"scope", "string", "cluster answers without a body; worker is the default"}},
		},
	}
}

func connectorOperations() map[string]operation {
	info := map[int]any{200: worker.ConnectorInfo{}}
	stored := map[int]any{200: worker.ConnectorInfo{}, 201: worker.ConnectorInfo{}}
	return map[string]operation{
		"GET /connectors": {
			summary: "Names of the connectors, or all with what expand asks for", answers: map[int]any{200: either{[]string{}, map[string]expanded{}}},
			query: []parameter{{"expand", "string[]", "status, info, and failure: with status, also why something failed"}},
		},
		"POST /connectors":                    {summary: "Create a connector", body: newConnector{}, answers: map[int]any{201: worker.ConnectorInfo{}}},
		"GET /connectors/{name}":              {summary: "Settings and tasks of a connector", answers: info},
		"GET /connectors/{name}/config":       {summary: "Settings of a connector; secrets are masked", answers: map[int]any{200: connect.Config{}}},
		"PUT /connectors/{name}/config":       {summary: "Replace the settings, or create the connector; a mask means unchanged", body: map[string]scalar{}, answers: stored},
		"PATCH /connectors/{name}/config":     {summary: "Change some settings; null removes one", body: map[string]scalar{}, answers: info},
		"GET /connectors/{name}/tasks":        {summary: "Settings of the tasks", answers: map[int]any{200: []worker.TaskInfo{}}},
		"GET /connectors/{name}/tasks-config": {summary: "Settings of the tasks, by their names", answers: map[int]any{200: map[string]connect.Config{}}},
		"DELETE /connectors/{name}": {
			summary: "Delete a connector; what it leaves behind elsewhere stands in the header Warning", answers: map[int]any{200: messageBody{}, 204: nil},
			query: []parameter{{"drop_slot", "boolean", "also remove what it keeps in the other system, and tell what that was"}},
		},
		"GET /connectors/{name}/topics":       {summary: "Topics that the connector has used", answers: map[int]any{200: map[string]map[string][]string{}}},
		"PUT /connectors/{name}/topics/reset": {summary: "Forget the topics that the connector has used", answers: map[int]any{202: nil}},
	}
}

func stateOperations() map[string]operation {
	return map[string]operation{
		"GET /connectors/{name}/status":                {summary: "States of a connector and its tasks", query: []parameter{expandFailure}, answers: map[int]any{200: worker.ConnectorStatus{}}},
		"GET /connectors/{name}/tasks/{task}/status":   {summary: "State of a task", query: []parameter{expandFailure}, answers: map[int]any{200: worker.TaskStatus{}}},
		"PUT /connectors/{name}/pause":                 {summary: "Pause: tasks stay, and do nothing", answers: map[int]any{202: nil}},
		"PUT /connectors/{name}/resume":                {summary: "Resume what was paused or stopped", answers: map[int]any{202: nil}},
		"PUT /connectors/{name}/stop":                  {summary: "Stop: there are no tasks, and offsets may be changed", answers: map[int]any{204: nil}},
		"POST /connectors/{name}/tasks/{task}/restart": {summary: "Restart a task", answers: map[int]any{204: nil}},
		"POST /connectors/{name}/restart": {
			summary: "Restart a connector, and its tasks", answers: map[int]any{202: worker.ConnectorStatus{}, 204: nil},
			query: []parameter{{"includeTasks", "boolean", "also the tasks"}, {"onlyFailed", "boolean", "only what has failed"}},
		},
		"POST /connectors/{name}/tasks": {summary: "Store settings of tasks", body: []connect.Config{}, answers: map[int]any{204: nil}},
		"PUT /connectors/{name}/fence":  {summary: "Shut out the former producers of a source", answers: map[int]any{204: nil}},
	}
}

func workOperations() map[string]operation {
	said := map[int]any{200: messageBody{}}
	replay := map[int]any{200: worker.Replay{}}
	return map[string]operation{
		"GET /connectors/{name}/offsets":         {summary: "Stored offsets", answers: map[int]any{200: offsetsBody{}}},
		"PATCH /connectors/{name}/offsets":       {summary: "Change offsets of a stopped connector; null resets a partition", body: offsetsBody{}, answers: said},
		"DELETE /connectors/{name}/offsets":      {summary: "Forget all offsets of a stopped connector", answers: said},
		"GET /connectors/{name}/offsets/history": {summary: "Offsets as they were before each of the newest changes that were asked for, the newest first", answers: map[int]any{200: historyBody{}}},
		"POST /connectors/{name}/offsets/rewind": {
			summary: "Put the offsets of a stopped connector back to those of an entry of the history; with dry_run tell what would change",
			body:    rewindBody{}, answers: map[int]any{200: rewoundBody{}},
		},
		"GET /connectors/{name}/logs": {
			summary: "Newest lines of the log of a connector and its tasks, of all workers; with follow a stream of lines", answers: map[int]any{200: logsBody{}},
			query: []parameter{
				{"n", "integer", "most lines, 200 by default"}, {"level", "string", "TRACE, DEBUG, INFO, WARN or ERROR: lines of this level and above"},
				{"task", "integer", "lines of this task alone"}, {"follow", "boolean", "go on with what comes, as application/x-ndjson"},
			},
		},
		"GET /connectors/{name}/peek": {
			summary: "Newest records of the topics that a source has written to or a sink reads, as its converters read them; the newest last", answers: map[int]any{200: peekBody{}},
			query: []parameter{{"limit", "integer", "most records, 10 by default and 100 at most"}, {"topic", "string", "records of this topic alone"}},
		},
		"GET /connectors/{name}/details":                  {summary: "What the tasks show of their work, such as a snapshot's progress", answers: map[int]any{200: detailsBody{}}},
		"POST /connectors/{name}/signals":                 {summary: "Hand a signal to the tasks of a source", body: signalBody{}, answers: map[int]any{202: messageBody{}}},
		"POST /connectors/{name}/remedies/{remedy}":       {summary: "Do what the error of a failed connector proposes", answers: said},
		"GET /connectors/{name}/dlq/{partition}/{offset}": {summary: "A letter with what is in it", answers: map[int]any{200: worker.Letter{}}},
		"GET /connectors/{name}/dlq/replay":               {summary: "How far the newest replay has come", answers: replay},
		"DELETE /connectors/{name}/dlq/replay":            {summary: "Stop a replay", answers: replay},
		"POST /connectors/{name}/dlq/replay":              {summary: "Put letters to the connector again", body: worker.LetterQuery{}, answers: map[int]any{202: worker.Replay{}}},
		"GET /connectors/{name}/dlq": {
			summary: "Letters in the dead letter queue of a sink", answers: map[int]any{200: lettersBody{}},
			query: []parameter{
				{"partition", "integer", "of the queue"}, {"from", "integer", "first offset"}, {"to", "integer", "last offset"},
				{"since", "string", "records from this time on"}, {"until", "string", "records before this time"}, {"limit", "integer", "most letters"},
				{"topic", "string", "from which the record was read"}, {"stage", "string", "such as VALUE_CONVERTER"}, {"error", "string", "code or class; * stands for anything"},
				{"state", "string", "pending, unsure, replayed, no_context or all"},
			},
		},
	}
}

func pluginOperations() map[string]operation {
	return map[string]operation{
		"GET /connector-plugins": {
			summary: "Plugins", answers: map[int]any{200: []worker.PluginInfo{}},
			query: []parameter{{"connectorsOnly", "boolean", "false: also converters, transforms and predicates"}},
		},
		"GET /connector-plugins/{plugin}/config": {
			summary: "Settings of a plugin", answers: map[int]any{200: []definition{}}, query: []parameter{{"version", "string", "of several versions, this one"}},
		},
		"PUT /connector-plugins/{plugin}/config/validate": {summary: "What is to be said of settings; faults are no error of the request", body: map[string]scalar{}, answers: map[int]any{200: validation{}}},
	}
}

func sqlOperations() map[string]operation {
	anything := map[int]any{200: json.RawMessage{}}
	return map[string]operation{
		"POST /ksql":         {summary: "Run statements", body: sqlBody{}, answers: anything},
		"POST /query":        {summary: "Run a query; rows come as they are found", body: sqlBody{}, answers: anything},
		"POST /query-stream": {summary: "Run a query; rows come as they are found", body: sqlBody{}, answers: anything, media: map[int]string{200: delimitedType}},
		"GET /subscribe": {summary: "Follow a query: the rows there are, and then every change, as Server-Sent Events", answers: anything, media: map[int]string{200: "text/event-stream"},
			query: []parameter{{"query", "string", "one SELECT with EMIT CHANGES"}, {"after", "string", "the id of the last event seen, as Last-Event-ID"}, {"auto.offset.reset", "string", "earliest: of streams that the query gathers, all records"}}},
		"POST /close-query":             {summary: "End a query", body: sqlBody{}, answers: map[int]any{200: nil}},
		"GET /info":                     {summary: "Version of ksqlDB that is spoken", answers: anything},
		"GET /healthcheck":              {summary: "Whether SQL is ready", answers: map[int]any{200: json.RawMessage{}, 503: json.RawMessage{}}},
		"GET /is_valid_property/{name}": {summary: "Whether a property may be sent with statements", answers: anything},
		"GET /streams/v1/{path...}":     {summary: "Applications that derive tables, and their states", answers: anything},
		"PUT /streams/v1/{path...}":     {summary: "Pause or resume an application", answers: anything},
	}
}
