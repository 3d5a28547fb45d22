package proxy

import "context"

// passingKey marks the context of a connection that is one too many.
type passingKey struct{}

// InPassing marks the context of a connection beyond the bound on connections. A request on it is answered with what memory knows; for
// anything else there is a 503 with Retry-After; and the connection ends with the answer.
func InPassing(ctx context.Context) context.Context {
	return context.WithValue(ctx, passingKey{}, true)
}

func inPassing(ctx context.Context) bool { return ctx.Value(passingKey{}) != nil }
