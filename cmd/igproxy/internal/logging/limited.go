package logging

import (
	"context"
	"log/slog"
	"strings"

	"github.com/igproxy/igproxy/proxy/loglimit"
)

// limited is a slog.Handler that bounds how many lines with the same message are logged per second,
// because events outside igproxy may cause a line again and again. It does not limit the lines of
// requests, which package proxy bounds by outcome and status.
type limited struct {
	slog.Handler
	limits *loglimit.Limits[string]
}

const requestMessage = "request"

// Handle implements slog.Handler.
func (h limited) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == requestMessage {
		return h.Handler.Handle(ctx, r)
	}
	skipped, ok := h.limits.Of(kindOf(r.Message)).Next(r.Time)
	if !ok {
		return nil
	}
	if skipped > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int64(loglimit.Attribute, skipped))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h limited) WithAttrs(attrs []slog.Attr) slog.Handler {
	return limited{h.Handler.WithAttrs(attrs), h.limits}
}

// WithGroup implements slog.Handler.
func (h limited) WithGroup(name string) slog.Handler {
	return limited{h.Handler.WithGroup(name), h.limits}
}

// kindOf returns a message up to its first digit, bracket or @. In net/http's messages, the address
// of the client begins with one of these characters. Different messages of igproxy already differ
// before any such character.
func kindOf(message string) string {
	if end := strings.IndexAny(message, "0123456789[@"); end >= 0 {
		return message[:end]
	}
	return message
}
