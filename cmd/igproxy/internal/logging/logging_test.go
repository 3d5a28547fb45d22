package logging_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/logging"
)

// logged calls the function write with a logger, and returns the log.
func logged(level, format string, write func(*slog.Logger)) string {
	var b bytes.Buffer
	log := logging.Start(&b, level, format)
	write(log.Logger)
	log.Close()
	return b.String()
}

func TestWithoutATerminalLogsAreJSONUnlessTheFormatIsText(t *testing.T) {
	// A buffer is not a terminal.
	for format, isJSON := range map[string]bool{"auto": true, "json": true, "text": false} {
		text := logged("info", format, func(log *slog.Logger) { log.Info("hello", "key", "value") })
		if json.Valid([]byte(text)) != isJSON || strings.Count(text, "\n") != 1 {
			t.Errorf("format %s: got %s; want one line, in JSON: %v", format, text, isJSON)
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
			t.Errorf("level %s: got %d lines, want %d", level, got, lines)
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
			t.Errorf("got the line %s (error: %v), want a warning from net/http with the message %s", text, err, want)
		}
	}
}

// A flood of one message suppresses only lines with that message. The message "request" has no
// bound here, because package proxy bounds it. Messages of net/http that differ only in the
// client's address count as one message.
func TestRepeatedMessagesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		log := logging.Start(&b, "info", "json")
		log.SetLines(3)
		library := logging.ForNetHTTP(log.Logger, slog.LevelWarn)
		for _, n := range []int{10, 1} {
			for i := range n {
				log.Logger.Warn("connection refused by auth.uids", "uid", i)
				log.Logger.With("step", "guard").Info("breaker changed")
				library.Printf("http: TLS handshake error from 127.0.0.1:%d: remote error", i)
				library.Printf("http: TLS handshake error from [::1]:%d: remote error", i)
				log.Logger.Info("request")
			}
			time.Sleep(time.Second)
		}
		log.Logger.Info("stopped")
		log.Close()
		lines, skipped := map[string]int{}, map[string]float64{}
		for text := range strings.Lines(b.String()) {
			var line map[string]any
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				t.Fatal(err)
			}
			message, _, _ := strings.Cut(line["msg"].(string), " from ")
			lines[message]++
			n, _ := line["not_logged"].(float64)
			skipped[message] += n
		}
		if want := map[string]int{"connection refused by auth.uids": 4, "breaker changed": 4, "http: TLS handshake error": 5, "request": 11,
			"stopped": 1}; !maps.Equal(lines, want) {
			t.Errorf("lines that were logged: got %v, want %v", lines, want)
		}
		if want := map[string]float64{"connection refused by auth.uids": 7, "breaker changed": 7, "http: TLS handshake error": 17, "request": 0,
			"stopped": 0}; !maps.Equal(skipped, want) {
			t.Errorf("lines that were left out: got %v, want %v", skipped, want)
		}
	})
}
