package config

import (
	"context"
	"fmt"
	"log/slog"
)

// Handler returns a log handler that takes the secrets the redactor knows out of
// messages and attributes before next sees them. An attribute whose name says that
// it is a secret is masked whole.
func (r *Redactor) Handler(next slog.Handler) slog.Handler { return logHandler{next: next, r: r} }

type logHandler struct {
	next slog.Handler
	r    *Redactor
}

func (h logHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h logHandler) Handle(ctx context.Context, record slog.Record) error {
	clean := slog.NewRecord(record.Time, record.Level, h.r.Text(record.Message), record.PC)
	record.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(h.r.attr(a))
		return true
	})
	return h.next.Handle(ctx, clean)
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = h.r.attr(a)
	}
	return logHandler{next: h.next.WithAttrs(clean), r: h.r}
}

func (h logHandler) WithGroup(name string) slog.Handler {
	return logHandler{next: h.next.WithGroup(name), r: h.r}
}

func (r *Redactor) attr(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindGroup:
		attrs := v.Group()
		clean := make([]slog.Attr, len(attrs))
		for i, inner := range attrs {
			clean[i] = r.attr(inner)
		}
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(clean...)}
	case slog.KindString:
		text := v.String()
		if text != "" && IsSecret(a.Key) {
			return slog.String(a.Key, Masked)
		}
		return slog.String(a.Key, r.Text(text))
	case slog.KindAny:
		return r.anyAttr(a.Key, v)
	}
	return slog.Attr{Key: a.Key, Value: v}
}

// anyAttr keeps a value as it is unless its text tells a secret; then the text
// without the secret stands for it.
func (r *Redactor) anyAttr(key string, v slog.Value) slog.Attr {
	if IsSecret(key) {
		return slog.String(key, Masked)
	}
	text := fmt.Sprintf("%+v", v.Any())
	if clean := r.Text(text); clean != text {
		return slog.String(key, clean)
	}
	return slog.Attr{Key: key, Value: v}
}
