package rest

import "net/http"

// route is one thing that can be asked. Of answer and stream one is set: answer
// returns what is to be written, stream writes by itself for as long as it likes.
type route struct {
	method, path string
	answer       func(*http.Request) (answer, error)
	stream       http.HandlerFunc
	// admin routes move to admin.listeners when there are any.
	admin bool
}

// routes lists everything the server answers to. A slash at the end of a path does
// not count. HEAD is answered wherever GET is.
func (s *Server) routes() []route {
	list := []route{
		{method: "GET", path: "/{$}", stream: s.root},
		{method: "GET", path: "/health", answer: s.health},
		{method: "GET", path: "/connectors", answer: s.listConnectors},
		{method: "POST", path: "/connectors", answer: s.createConnector},
		{method: "GET", path: "/connectors/{name}", answer: s.getConnector},
		{method: "DELETE", path: "/connectors/{name}", answer: s.deleteConnector},
		{method: "GET", path: "/connectors/{name}/config", answer: s.getConfig},
		{method: "PUT", path: "/connectors/{name}/config", answer: s.putConfig},
		{method: "PATCH", path: "/connectors/{name}/config", answer: s.patchConfig},
		{method: "GET", path: "/connectors/{name}/status", answer: s.getStatus},
		{method: "POST", path: "/connectors/{name}/restart", answer: s.restart},
		{method: "PUT", path: "/connectors/{name}/pause", answer: s.pause},
		{method: "PUT", path: "/connectors/{name}/resume", answer: s.resume},
		{method: "PUT", path: "/connectors/{name}/stop", answer: s.stop},
		{method: "GET", path: "/connectors/{name}/tasks", answer: s.listTasks},
		{method: "POST", path: "/connectors/{name}/tasks", answer: s.putTaskConfigs},
		{method: "PUT", path: "/connectors/{name}/fence", answer: s.fence},
		{method: "GET", path: "/connectors/{name}/tasks-config", answer: s.taskConfigs},
		{method: "GET", path: "/connectors/{name}/tasks/{task}/status", answer: s.taskStatus},
		{method: "POST", path: "/connectors/{name}/tasks/{task}/restart", answer: s.restartTask},
		{method: "GET", path: "/connectors/{name}/offsets", answer: s.getOffsets},
		{method: "PATCH", path: "/connectors/{name}/offsets", answer: s.alterOffsets},
		{method: "DELETE", path: "/connectors/{name}/offsets", answer: s.resetOffsets},
		{method: "GET", path: "/connectors/{name}/details", answer: s.getDetails},
		{method: "POST", path: "/connectors/{name}/signals", answer: s.sendSignal},
		{method: "POST", path: "/connectors/{name}/remedies/{remedy}", answer: s.applyRemedy},
		{method: "GET", path: "/connectors/{name}/topics", answer: s.getTopics},
		{method: "PUT", path: "/connectors/{name}/topics/reset", answer: s.resetTopics},
		{method: "GET", path: "/connector-plugins", answer: s.listPlugins},
		{method: "GET", path: "/connector-plugins/{plugin}/config", answer: s.pluginConfig},
		{method: "PUT", path: "/connector-plugins/{plugin}/config/validate", answer: s.validate},
		{method: "GET", path: "/admin/loggers", answer: s.listLoggers, admin: true},
		{method: "GET", path: "/admin/loggers/{logger}", answer: s.getLogger, admin: true},
		{method: "PUT", path: "/admin/loggers/{logger}", answer: s.setLogger, admin: true},
	}
	if s.o.SQL != nil {
		list = append(list, []route{
			{method: "POST", path: "/ksql", stream: s.executeSQL},
			{method: "POST", path: "/query", stream: s.query},
			{method: "POST", path: "/query-stream", stream: s.queryStream},
			{method: "POST", path: "/close-query", stream: s.closeQuery},
			{method: "GET", path: "/info", stream: s.serverInfo},
			{method: "GET", path: "/healthcheck", stream: s.healthcheck},
			{method: "GET", path: "/is_valid_property/{name}", stream: s.validProperty},
		}...)
	}
	if s.o.Streams != nil {
		for _, method := range []string{"GET", "PUT"} {
			list = append(list, route{method: method, path: "/streams/v1/{path...}", stream: s.o.Streams.ServeHTTP})
		}
	}
	if s.o.Metrics != nil {
		list = append(list, route{method: "GET", path: "/metrics", stream: s.o.Metrics.ServeHTTP})
	}
	if s.o.UI != nil {
		list = append(list, route{method: "GET", path: "/ui/{path...}", stream: s.o.UI.ServeHTTP})
	}
	return list
}
