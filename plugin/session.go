package plugin

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/plugin/internal/line"
)

// session is what a process is for: one connector, one task, one transform or predicate,
// or questions.
type session struct {
	plugins connect.Plugins
	line    *line.Line
	figures figures
	// life is what connector and task are started with; it ends before the session does
	// when the worker says so.
	life context.Context
	end  context.CancelFunc

	mu        sync.Mutex // Guards what follows, which is set once.
	connector *target
	source    *sourceSide
	sink      *sinkSide
	step      *stepSide
}

// serve speaks with a worker until the stream ends.
func serve(plugins connect.Plugins, stream line.Stream) error {
	s := &session{plugins: plugins}
	s.line = line.New(stream, s)
	s.life, s.end = context.WithCancel(s.line.Context())
	defer s.end()
	var telling sync.WaitGroup
	telling.Go(s.tell)
	err := s.line.Run()
	telling.Wait()
	return err
}

// tell sends the figures now and then.
func (s *session) tell() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-s.line.Context().Done():
			return
		case <-ticker.C:
			s.figures.send(s.line)
		}
	}
}

// Notified implements line.Handler.
func (s *session) Notified(m line.Method, _ []byte) {
	if m == line.End {
		s.end()
	}
}

// Called implements line.Handler.
func (s *session) Called(ctx context.Context, m line.Method, body []byte) ([]byte, error) {
	// Before the answer, so that who has it has the figures.
	defer s.figures.send(s.line)
	switch m {
	case line.Describe:
		return line.Pack(describe(s.plugins)), nil
	case line.Validate, line.Delivery, line.AlterOffsets, line.Remedy, line.Retire:
		return s.answer(ctx, m, body)
	case line.StartConnector, line.TaskConfigs:
		return s.plan(ctx, m, body)
	case line.StartSource:
		return nil, s.startSource(body)
	case line.StartSink:
		return nil, s.startSink(body)
	case line.StartStep:
		return nil, s.startStep(body)
	case line.Stop:
		return nil, s.stop(ctx)
	}
	s.mu.Lock()
	source, sink, step := s.source, s.sink, s.step
	s.mu.Unlock()
	switch {
	case source != nil:
		return source.called(ctx, m, body)
	case sink != nil:
		return sink.called(ctx, m, body)
	case step != nil:
		return step.called(ctx, m, body)
	}
	return nil, misused(m)
}

func misused(m line.Method) error {
	return &connect.Error{Code: "plugin.protocol", Message: fmt.Sprintf("the worker asked for %q of a process that is not for that", m)}
}

// stop stops what was started.
func (s *session) stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.source != nil:
		return s.source.task.Stop(ctx)
	case s.sink != nil:
		return s.sink.task.Stop(ctx)
	case s.step != nil:
		return s.step.close()
	case s.connector != nil:
		return s.connector.connector().Stop(ctx)
	}
	return nil
}
