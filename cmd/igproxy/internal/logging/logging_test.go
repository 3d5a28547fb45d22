package logging_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/logging"
)

// logged returns what write logs.
func logged(level, format string, write func(*slog.Logger)) string {
	var b bytes.Buffer
	log := logging.Start(&b, level, format)
	write(log.Logger)
	log.Close()
	return b.String()
}

func TestLogsAreJSONUnlessOnATerminalOrConfiguredAsText(t *testing.T) {
	// A buffer is not a terminal.
	for format, isJSON := range map[string]bool{"auto": true, "json": true, "text": false} {
		text := logged("info", format, func(log *slog.Logger) { log.Info("hello", "key", "value") })
		if json.Valid([]byte(text)) != isJSON || strings.Count(text, "\n") != 1 {
			t.Errorf("%s: %s", format, text)
		}
	}
}

func TestALogLevelHidesLessImportantLines(t *testing.T) {
	for level, lines := range map[string]int{"debug": 4, "info": 3, "warn": 2, "error": 1} {
		text := logged(level, "json", func(log *slog.Logger) {
			log.Debug("d")
			log.Info("i")
			log.Warn("w")
			log.Error("e")
		})
		if got := strings.Count(text, "\n"); got != lines {
			t.Errorf("%s: %d lines, want %d", level, got, lines)
		}
	}
}

func TestBytesQuotedByNetHTTPAreNotLogged(t *testing.T) {
	for message, want := range map[string]string{
		`Unsolicited response received on idle HTTP channel starting with "HTTP/1.1 200 OK\r\n\r\nIGAA"; err=<nil>`: "Unsolicited response received on idle HTTP channel starting with ...",
		"http: Accept error: too many open files; retrying in 5ms":                                                  "http: Accept error: too many open files; retrying in 5ms",
		`"IGAA`: "...",
	} {
		text := logged("info", "json", func(log *slog.Logger) { logging.ForNetHTTP(log, slog.LevelWarn).Print(message) })
		var line map[string]string
		if err := json.Unmarshal([]byte(text), &line); err != nil || line["msg"] != want || line["level"] != "WARN" || line["from"] != "net/http" {
			t.Errorf("got %s, %v; want %s", text, err, want)
		}
	}
}
