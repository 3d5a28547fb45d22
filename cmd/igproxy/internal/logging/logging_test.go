package logging_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/logging"
)

func TestALogIsJSONUnlessATerminalOrTheOperatorSaysText(t *testing.T) {
	for format, isJSON := range map[string]bool{"auto": true, "json": true, "text": false} { // a buffer is no terminal
		var b bytes.Buffer
		logging.New(&b, "info", format).Info("hello", "key", "value")
		if json.Valid(b.Bytes()) != isJSON || strings.Count(b.String(), "\n") != 1 {
			t.Errorf("%s: %s", format, b.String())
		}
	}
}

func TestALogLevelHidesWhatIsLessImportant(t *testing.T) {
	for level, lines := range map[string]int{"debug": 4, "info": 3, "warn": 2, "error": 1} {
		var b bytes.Buffer
		log := logging.New(&b, level, "json")
		log.Debug("d")
		log.Info("i")
		log.Warn("w")
		log.Error("e")
		if got := strings.Count(b.String(), "\n"); got != lines {
			t.Errorf("%s: %d lines, want %d", level, got, lines)
		}
	}
}

func TestWhatNetHTTPQuotesIsNotLogged(t *testing.T) {
	for said, want := range map[string]string{
		`Unsolicited response received on idle HTTP channel starting with "HTTP/1.1 200 OK\r\n\r\nIGAA"; err=<nil>`: "Unsolicited response received on idle HTTP channel starting with ...",
		"http: Accept error: too many open files; retrying in 5ms":                                                  "http: Accept error: too many open files; retrying in 5ms",
		`"IGAA`: "...",
	} {
		var b bytes.Buffer
		logging.ForNetHTTP(logging.New(&b, "info", "json"), slog.LevelWarn).Print(said)
		var line map[string]string
		if err := json.Unmarshal(b.Bytes(), &line); err != nil || line["msg"] != want || line["level"] != "WARN" || line["from"] != "net/http" {
			t.Errorf("got %s, %v; want %s", b.String(), err, want)
		}
	}
}
