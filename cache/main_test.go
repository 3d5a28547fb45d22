package cache

import (
	"log/slog"
	"testing"

	"go.uber.org/goleak"
)

var silence = slog.New(slog.DiscardHandler)

func TestMain(m *testing.M) {
	RouteLogs(silence) // the client's own log is global, and many tests here want it to fail
	goleak.VerifyTestMain(m)
}
