package cache

import (
	"log/slog"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	RouteLogs(slog.New(slog.DiscardHandler)) // the client's own log is global, and many tests here want it to fail
	goleak.VerifyTestMain(m)
}
