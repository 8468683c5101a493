package rest

import (
	"net/http"

	"github.com/tidemill/tidemill/rest/auth"
)

// route is one thing that can be asked. Of answer and stream one is set: answer
// returns what is to be written, stream writes by itself for as long as it likes.
type route struct {
	method, path string
	answer       func(*http.Request) (answer, error)
	stream       http.HandlerFunc
	// role is who may ask. Nobody has forgotten it: a test names the routes without one.
	role auth.Role
	// whole routes speak of everything the worker does: a role for some connectors is not
	// enough for them.
	whole bool
	// admin routes move to admin.listeners when there are any.
	admin bool
}

// routes lists everything the server answers to. A slash at the end of a path does
// not count. HEAD is answered wherever GET is.
func (s *Server) routes() []route {
	list := []route{
		{method: "GET", path: "/{$}", role: auth.Viewer, stream: s.root},
		{method: "GET", path: "/health", role: auth.Viewer, answer: s.health},
		{method: "GET", path: "/openapi.json", role: auth.Viewer, answer: s.openAPI},
		{method: "GET", path: "/connectors", role: auth.Viewer, answer: s.listConnectors},
		{method: "POST", path: "/connectors", role: auth.Admin, answer: s.createConnector},
		{method: "GET", path: "/connectors/{name}", role: auth.Viewer, answer: s.getConnector},
		{method: "DELETE", path: "/connectors/{name}", role: auth.Admin, answer: s.deleteConnector},
		{method: "GET", path: "/connectors/{name}/config", role: auth.Viewer, answer: s.getConfig},
		{method: "PUT", path: "/connectors/{name}/config", role: auth.Admin, answer: s.putConfig},
		{method: "PATCH", path: "/connectors/{name}/config", role: auth.Admin, answer: s.patchConfig},
		{method: "GET", path: "/connectors/{name}/status", role: auth.Viewer, answer: s.getStatus},
		{method: "POST", path: "/connectors/{name}/restart", role: auth.Operator, answer: s.restart},
		{method: "PUT", path: "/connectors/{name}/pause", role: auth.Operator, answer: s.pause},
		{method: "PUT", path: "/connectors/{name}/resume", role: auth.Operator, answer: s.resume},
		{method: "PUT", path: "/connectors/{name}/stop", role: auth.Operator, answer: s.stop},
		{method: "GET", path: "/connectors/{name}/tasks", role: auth.Viewer, answer: s.listTasks},
		{method: "POST", path: "/connectors/{name}/tasks", role: auth.Worker, answer: s.putTaskConfigs},
		{method: "PUT", path: "/connectors/{name}/fence", role: auth.Worker, answer: s.fence},
		{method: "GET", path: "/connectors/{name}/tasks-config", role: auth.Viewer, answer: s.taskConfigs},
		{method: "GET", path: "/connectors/{name}/tasks/{task}/status", role: auth.Viewer, answer: s.taskStatus},
		{method: "POST", path: "/connectors/{name}/tasks/{task}/restart", role: auth.Operator, answer: s.restartTask},
		{method: "GET", path: "/connectors/{name}/offsets", role: auth.Viewer, answer: s.getOffsets},
		{method: "PATCH", path: "/connectors/{name}/offsets", role: auth.Admin, answer: s.alterOffsets},
		{method: "DELETE", path: "/connectors/{name}/offsets", role: auth.Admin, answer: s.resetOffsets},
		{method: "GET", path: "/connectors/{name}/offsets/history", role: auth.Viewer, answer: s.offsetHistory},
		{method: "POST", path: "/connectors/{name}/offsets/rewind", role: auth.Admin, answer: s.rewindOffsets},
		{method: "GET", path: "/connectors/{name}/logs", role: auth.Viewer, stream: s.showLogs},
		{method: "GET", path: "/connectors/{name}/peek", role: auth.Operator, answer: s.peek},
		{method: "GET", path: "/connectors/{name}/details", role: auth.Viewer, answer: s.getDetails},
		{method: "POST", path: "/connectors/{name}/signals", role: auth.Operator, answer: s.sendSignal},
		{method: "POST", path: "/connectors/{name}/remedies/{remedy}", role: auth.Operator, answer: s.applyRemedy},
		{method: "GET", path: "/connectors/{name}/dlq", role: auth.Viewer, answer: s.listLetters},
		{method: "GET", path: "/connectors/{name}/dlq/{partition}/{offset}", role: auth.Operator, answer: s.getLetter},
		{method: "POST", path: "/connectors/{name}/dlq/replay", role: auth.Operator, answer: s.startReplay},
		{method: "GET", path: "/connectors/{name}/dlq/replay", role: auth.Viewer, answer: s.getReplay},
		{method: "DELETE", path: "/connectors/{name}/dlq/replay", role: auth.Operator, answer: s.stopReplay},
		{method: "GET", path: "/connectors/{name}/topics", role: auth.Viewer, answer: s.getTopics},
		{method: "PUT", path: "/connectors/{name}/topics/reset", role: auth.Operator, answer: s.resetTopics},
		{method: "GET", path: "/connector-plugins", role: auth.Viewer, answer: s.listPlugins},
		{method: "GET", path: "/connector-plugins/{plugin}/config", role: auth.Viewer, answer: s.pluginConfig},
		{method: "PUT", path: "/connector-plugins/{plugin}/config/validate", role: auth.Admin, answer: s.validate},
		{method: "GET", path: "/admin/loggers", role: auth.Viewer, whole: true, answer: s.listLoggers, admin: true},
		{method: "GET", path: "/admin/loggers/{logger}", role: auth.Viewer, whole: true, answer: s.getLogger, admin: true},
		{method: "PUT", path: "/admin/loggers/{logger}", role: auth.Admin, whole: true, answer: s.setLogger, admin: true},
	}
	if s.o.SQL != nil {
		list = append(list, []route{
			{method: "POST", path: "/ksql", role: auth.Admin, whole: true, stream: s.executeSQL},
			{method: "POST", path: "/query", role: auth.Viewer, whole: true, stream: s.query},
			{method: "POST", path: "/query-stream", role: auth.Viewer, whole: true, stream: s.queryStream},
			{method: "GET", path: "/subscribe", role: auth.Viewer, whole: true, stream: s.subscribe},
			{method: "POST", path: "/close-query", role: auth.Viewer, whole: true, stream: s.closeQuery},
			{method: "GET", path: "/info", role: auth.Viewer, stream: s.serverInfo},
			{method: "GET", path: "/healthcheck", role: auth.Viewer, stream: s.healthcheck},
			{method: "GET", path: "/is_valid_property/{name}", role: auth.Viewer, stream: s.validProperty},
		}...)
	}
	if s.o.Streams != nil {
		list = append(list,
			route{method: "GET", path: "/streams/v1/{path...}", role: auth.Viewer, whole: true, stream: s.o.Streams.ServeHTTP},
			route{method: "PUT", path: "/streams/v1/{path...}", role: auth.Operator, whole: true, stream: s.o.Streams.ServeHTTP})
	}
	if s.o.Metrics != nil {
		list = append(list, route{method: "GET", path: "/metrics", role: auth.Viewer, whole: true, stream: s.o.Metrics.ServeHTTP})
	}
	if s.o.UI != nil {
		list = append(list, route{method: "GET", path: "/ui/{path...}", role: auth.Viewer, stream: s.o.UI.ServeHTTP})
	}
	return list
}
