package graph_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// hostileResponses returns responses of about n bytes, each of which repeats one short text.
func hostileResponses(n int) map[string]string {
	filled := func(head, unit, tail string) string {
		return head + strings.Repeat(unit, n/len(unit)) + tail
	}
	return map[string]string{
		"members":             filled("{", `"a":1,`, `"b":1}`),
		"members of an error": filled(`{"error":{`, `"a":1,`, `"message":"m","code":190}}`),
		"members of data":     filled(`{"data":[{`, `"a":1,`, `"access_token":"IGAA"}]}`),
		"elements of data":    filled(`{"data":[`, `1,`, `1]}`),
		"objects in data":     filled(`{"data":[`, `{},`, `{}]}`),
		"members in a member": filled(`{"access_token":"IGAA","expires_in":60,"x":{`, `"a":1,`, `"b":1}}`),
		"a long name":         filled(`{"access_token":"IGAA","expires_in":60,"`, `a`, `":1}`),
		"escapes in a name":   filled(`{"access_token":"IGAA","expires_in":60,"`, `\u005c`, `":1}`),
		"a long number":       filled(`{"access_token":"IGAA","expires_in":`, `1`, `}`),
		"a long token":        filled(`{"access_token":"`, `a`, `","expires_in":60}`),
		"a long message":      filled(`{"error":{"code":190,"message":"`, `a`, `"}}`),
		"tokens in a message": filled(`{"error":{"code":190,"message":"`, `IGAAshort`, `"}}`),
		"escaped backslashes": filled(`{"error":{"code":190,"message":"`, `\\`, `"}}`),
		"percent signs":       filled(`{"error":{"code":190,"message":"`, `%5c`, `"}}`),
		"spaces":              filled(`{`, " \n", `"access_token":"IGAA"}`),
		"nested arrays":       filled(`{"error":`, `[`, `}`),
		"nested objects":      filled(`{"error":`, `{"error":`, `}`),
		"objects in a row":    filled(``, `{}`, ``),
	}
}

// readAll reads a response as a token, a code exchange, an error and headers about rate limits.
func readAll(text string, now time.Time) {
	scrub := scrubber(testSecret, "IGAAshort")
	body := []byte(text)
	_, _ = graph.ReadToken(body, now)
	_, _ = graph.ReadCode(body, now)
	_, _ = graph.ReadError(http.StatusBadRequest, body, scrub)
	h := http.Header{"X-App-Usage": {text}, "X-Business-Use-Case-Usage": {text}, "Retry-After": {text}}
	_ = graph.ReadUsage(h, scrub)
	_ = graph.RetryAt(graph.ClassAppLimit, h, now)
}

// An earlier version took 13 s to read a mebibyte of small members. The current readers take less
// than 0.1 s for each of these responses.
func TestReadersTakeLinearTime(t *testing.T) {
	for name, text := range hostileResponses(1 << 20) {
		start := time.Now()
		readAll(text, start)
		if took := time.Since(start); took > 10*time.Second { // allows for a busy machine and the race detector
			t.Errorf("%s: a mebibyte took %s, want at most 10s", name, took)
		}
	}
}

// Reading eight times as many bytes needs about the same number of allocations, because readers
// stop at their bounds or keep slices of what they read. Only buffers that grow by doubling need a
// few more.
func TestReadersAllocateNothingForEachElement(t *testing.T) {
	small, large := hostileResponses(8<<10), hostileResponses(64<<10)
	for name := range small {
		few := testing.AllocsPerRun(1, func() { readAll(small[name], time.Now()) })
		many := testing.AllocsPerRun(1, func() { readAll(large[name], time.Now()) })
		if many > few+100 {
			t.Errorf("%s: %.0f allocations for 8 KiB and %.0f for 64 KiB, want at most 100 more", name, few, many)
		}
	}
}
