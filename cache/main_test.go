package cache

import (
	"log/slog"
	"testing"

	"go.uber.org/goleak"
)

var silence = slog.New(slog.DiscardHandler)

func TestMain(m *testing.M) {
	RouteLogs(silence) // go-redis has one global log, and many tests here make it log errors
	goleak.VerifyTestMain(m)
}
