package plugin

import (
	"context"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/plugin/internal/block"
	"github.com/tidemill/tidemill/plugin/internal/line"
)

// plan serves what the worker asks of a connector that is started.
func (s *session) plan(ctx context.Context, m line.Method, body []byte) ([]byte, error) {
	if m == line.StartConnector {
		return nil, s.startConnector(body)
	}
	s.mu.Lock()
	c := s.connector
	s.mu.Unlock()
	if c == nil {
		return nil, misused(m)
	}
	most, err := line.Unpack[int](body)
	if err != nil {
		return nil, err
	}
	configs, err := c.connector().TaskConfigs(ctx, most)
	if err != nil {
		return nil, err
	}
	return line.Pack(configs), nil
}

func (s *session) startConnector(body []byte) error {
	start, err := line.Unpack[line.Start](body)
	if err != nil {
		return err
	}
	c, err := find(s.plugins, start.Target)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.connector = &c
	s.mu.Unlock()
	return c.connector().Start(s.life, connect.ConnectorEnv{
		Name: start.Name, Config: start.Config, Log: s.log(start),
		Reconfigure: func() { s.line.Notify(line.Reconfigure, nil) },
		Fail:        func(err error) { s.line.Notify(line.Fail, line.PackError(err)) },
	})
}

// answer serves questions, which may be asked of a connector that was never started.
func (s *session) answer(ctx context.Context, m line.Method, body []byte) ([]byte, error) {
	q, err := line.Unpack[line.Question](body)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	c := s.connector
	s.mu.Unlock()
	if c == nil {
		made, err := find(s.plugins, q.Target)
		if err != nil {
			return nil, err
		}
		c = &made
	}
	var a line.Answer
	switch m {
	case line.Validate:
		a.Values = validate(ctx, *c, q.Config)
	case line.Delivery:
		if x, can := c.connector().(connect.ExactlyOnceSource); can {
			a.ExactlyOnce, a.Boundaries = x.ExactlyOnce(q.Config), x.DefinesBoundaries(q.Config)
		}
	default:
		a, err = keep(ctx, *c, m, q)
	}
	if err != nil {
		return nil, err
	}
	return line.Pack(a), nil
}

// validate checks every setting by itself and then, if the plugin can, all together.
func validate(ctx context.Context, c target, config connect.Config) connect.ConfigValues {
	values := connect.ConfigValues{}
	if c.config != nil {
		values = c.config.Validate(config)
		for name := range values {
			if _, own := c.config.Key(name); !own {
				delete(values, name) // The worker's own, or nobody's, which the worker tells.
			}
		}
	}
	if checks := c.validator(); checks != nil {
		checks.Validate(ctx, config, values)
	}
	return values
}

// keep serves what a connector has a say in: offsets, remedies, its end.
func keep(ctx context.Context, c target, m line.Method, q line.Question) (a line.Answer, err error) {
	alterer, can := c.connector().(connect.OffsetAlterer)
	if !can {
		switch {
		case m == line.Remedy:
			err = &connect.Error{Code: "remedy.unknown", Class: connect.ClassConfig, Place: q.Name, Message: "this connector has no remedies"}
		case m == line.Retire && q.Drop:
			err = &connect.Error{Code: "request.invalid", Class: connect.ClassConfig, Message: "this connector keeps nothing elsewhere that could be dropped", Mend: "delete it without drop_slot"}
		}
		return a, err
	}
	offsets := map[connect.SourcePartition][]byte{}
	for text, offset := range q.Offsets {
		p, err := block.ParsePartition(text)
		if err != nil {
			return a, err
		}
		offsets[p] = []byte(offset)
		if offset == "" {
			offsets[p] = nil
		}
	}
	switch m {
	case line.AlterOffsets:
		a.Did, err = alterer.AlterOffsets(ctx, q.Config, offsets)
	case line.Remedy:
		if offsets, a.Told, err = alterer.Remedy(ctx, q.Config, q.Name, offsets); err == nil {
			a.Offsets = map[string]string{}
			for p, offset := range offsets {
				a.Offsets[p.JSON()] = string(offset)
			}
		}
	case line.Retire:
		a.Told, err = alterer.Retire(ctx, q.Config, q.Drop)
	}
	return a, err
}
