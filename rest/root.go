package rest

import (
	"html/template"
	"net/http"
	"strings"

	"github.com/tidemill/tidemill/worker"
)

// root answers Connect's clients with the server's version, and browsers with a
// page, or with the way to the UI when there is one.
func (s *Server) root(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		a := answer{status: http.StatusOK, body: s.o.Herder.Info()}
		if failed := s.failed(r); len(failed) > 0 {
			a.warning = whatFailed(failed) // The body has no place for it.
		}
		s.write(w, a)
		return
	}
	if s.o.UI != nil {
		http.Redirect(w, r, "/ui/", http.StatusFound)
		return
	}
	page := rootPage{Info: s.o.Herder.Info(), Auth: !s.gate.Open()}
	if failed := s.failed(r); len(failed) > 0 {
		page.Failed = whatFailed(failed)
	}
	for _, name := range s.visible(r) {
		status, err := s.o.Herder.Status(name)
		if err != nil {
			status = worker.ConnectorStatus{Name: name, Connector: worker.ConnectorState{State: "UNASSIGNED"}}
		}
		line := rootLine{Name: name, Type: status.Type, State: status.Connector.State, Tasks: len(status.Tasks)}
		for _, t := range status.Tasks {
			switch t.State {
			case "RUNNING":
				line.Running++
			case "FAILED":
				line.State = "FAILED" // It does not do all of its work.
			}
		}
		page.Connectors = append(page.Connectors, line)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	if err := rootTemplate.Execute(w, page); err != nil {
		s.log.Debug("the page was not sent whole", "err", err)
	}
}

type rootPage struct {
	Info       worker.ServerInfo
	Auth       bool
	Failed     string
	Connectors []rootLine
}

type rootLine struct {
	Name, Type, State string
	Tasks, Running    int
}

var rootTemplate = template.Must(template.New("root").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Tidemill</title>
<style>
body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;color:#1b2733;background:#fff}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #d6dee6}
.FAILED{color:#b00020;font-weight:600}.warn{background:#fff4d6;padding:.4rem .8rem}
@media(prefers-color-scheme:dark){body{background:#10171e;color:#dbe4ec}.warn{background:#4a3a00}}
</style>
<h1>Tidemill {{.Info.Version}}</h1>
<p>Kafka cluster {{or .Info.KafkaClusterID "unknown"}}, commit {{or .Info.Commit "unknown"}}</p>
{{if not .Auth}}<p class="warn">This interface asks nobody who they are.</p>{{end}}{{if .Failed}}
<p class="warn">Not all is well. {{.Failed}}</p>{{end}}
<h2>Connectors</h2>
{{if .Connectors}}<table><tr><th>Name<th>Type<th>State<th>Tasks running</tr>
{{range .Connectors}}<tr><td><a href="/connectors/{{.Name}}/status">{{.Name}}</a><td>{{.Type}}<td class="{{.State}}">{{.State}}<td>{{.Running}} of {{.Tasks}}</tr>
{{end}}</table>{{else}}<p>There are none yet. POST one to <code>/connectors</code>.</p>{{end}}
<p><a href="/health">health</a> · <a href="/connectors?expand=status">connectors</a> · <a href="/connector-plugins?connectorsOnly=false">plugins</a> · <a href="/metrics">metrics</a></p>
</html>
`))
