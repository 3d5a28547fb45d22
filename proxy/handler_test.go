package proxy

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// proxyOf returns a Proxy in which the function exchange replaces all steps between decode and
// answer.
func proxyOf(t *testing.T, log *slog.Logger, exchange exchangeFunc) *Proxy {
	t.Helper()
	o := optionsFor(t, "https://127.0.0.1:1", nil)
	o.Logger, o.Metrics = log, NewMetrics()
	p := newProxy(t, o)
	e := *p.current.Load()
	e.first = exchange
	p.current.Store(&e)
	return p
}

// cacheStatus returns the parameters of a Cache-Status header (RFC 9211). The header must be a
// structured list (RFC 8941) with one member, the token igproxy.
func cacheStatus(t *testing.T, header string) map[string]string {
	t.Helper()
	list := regexp.MustCompile(`^igproxy((?:; ?[a-z*][a-z0-9_.*-]*(?:=(?:-?[0-9]{1,15}|[A-Za-z*][A-Za-z0-9!#$%&'*+.^_|~:/-]*|"(?:[ !#-\[\]-~]|\\["\\])*"))?)*)$`)
	m := list.FindStringSubmatch(header)
	if m == nil {
		t.Fatalf("got the header %q, want a structured list with igproxy as its only member", header)
	}
	parameters := map[string]string{}
	for _, p := range strings.Split(m[1], ";")[1:] {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if _, twice := parameters[name]; twice {
			t.Errorf("%q has %s twice", header, name)
		}
		if !slices.Contains([]string{"hit", "fwd", "fwd-status", "ttl", "stored", "collapsed", "key", "detail"}, name) {
			t.Errorf("%q has %s, which RFC 9211 does not define", header, name)
		}
		parameters[name] = value
	}
	if _, hit := parameters["hit"]; hit && parameters["fwd"] != "" {
		t.Errorf("%q has both hit and fwd", header)
	}
	return parameters
}

// ending is one way in which a request ends, and what the app, the log and the metrics must show.
type ending struct {
	give            func() (answer, error) // replaces the steps after decode; nil: decode refuses the request
	status          int
	outcome, source string
	cache           string // the parameters of Cache-Status, sorted; "-": no such header
}

func endings(t *testing.T) map[string]ending {
	token := func(change func(*answer)) func() (answer, error) {
		return func() (answer, error) {
			a := tokenAnswer(t, "IGAAlong", time.Hour)
			change(&a)
			return a, nil
		}
	}
	refusal := func(code int, change func(*answer)) func() (answer, error) {
		return func() (answer, error) {
			a := refusalAnswer(code, 0, "m")
			change(&a)
			return a, nil
		}
	}
	fails := func(e *graph.Error) func() (answer, error) { return func() (answer, error) { return answer{}, e } }
	from := func(s source) func(*answer) {
		return func(a *answer) { a.source, a.left = s, 90*time.Second+time.Millisecond }
	}
	unchanged := func(*answer) {}
	return map[string]ending{
		"a first exchange":  {token(func(a *answer) { a.stored = true }), 200, "token", "upstream", "fwd=miss stored"},
		"not remembered":    {token(unchanged), 200, "token", "upstream", "fwd=miss"},
		"a hit in memory":   {token(from(sourceMemory)), 200, "token", "memory", "hit ttl=90"},
		"a hit in Redis":    {token(from(sourceRedis)), 200, "token", "redis", "hit ttl=90"},
		"a joined exchange": {token(func(a *answer) { a.joined, a.stored = true, true }), 200, "token", "joined", "collapsed fwd=miss"},
		"a refusal":         {refusal(190, unchanged), 400, "refused", "upstream", "fwd=miss"},
		"a known refusal":   {refusal(190, from(sourceMemory)), 400, "refused", "memory", "hit ttl=90"},
		"a rate limit":      {refusal(4, unchanged), 400, "limited", "upstream", "fwd=miss"},
		"a pause":           {refusal(4, from(sourceHold)), 400, "limited", "hold", "detail=\"hold\""},
		"wrong secret": {func() (answer, error) { return refusalAnswer(100, 0, "Error validating client secret."), nil }, 400, "refused",
			"upstream", "fwd=miss"},
		"breaker open":      {fails(errBreakerOpen(5 * time.Second)), 503, "unavailable", "none", "detail=\"breaker open\""},
		"too many":          {fails(errOverloaded()), 503, "unavailable", "none", "detail=\"too many exchanges at once\""},
		"no answer":         {fails(errUnreachable("refused")), 503, "unavailable", "none", "fwd=miss"},
		"too late":          {fails(errTimeout()), 504, "timeout", "none", "fwd=miss"},
		"nonsense":          {fails(errBadAnswer("x")), 502, "unavailable", "none", "fwd=miss"},
		"Instagram is down": {fails(&graph.Error{Status: 502, Code: 2, Message: "m", Type: "t", Class: graph.ClassTransient}), 502, "unavailable", "none", "fwd=miss"},
		"a bug":             {func() (answer, error) { panic(testSecret) }, 500, "failed", "none", "fwd=miss"},
		"an unknown error":  {func() (answer, error) { return answer{}, io.ErrUnexpectedEOF }, 500, "failed", "none", "fwd=miss"},
		"decode refuses it": {nil, 400, "rejected", "none", "-"},
	}
}

func TestEachOutcomeIsAnsweredInFullAndLoggedOnce(t *testing.T) {
	for name, c := range endings(t) {
		var log strings.Builder
		p := proxyOf(t, slog.New(slog.NewJSONHandler(&log, nil)), func(context.Context, call) (answer, error) { return c.give() })
		where := target("IGAAshort-canary")
		if c.give == nil {
			where += "&access_token=second-canary"
		}
		w := ask(p, with(get(where), "User-Agent", "agent-canary"))
		h := w.Header()
		if w.Code != c.status || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: got %d %s, want %d and valid JSON", name, w.Code, w.Body, c.status)
		}
		if w.Code != 200 {
			errorIn(t, w.Body.Bytes())
		}
		if strings.Contains(w.Body.String(), "access_token\"") != (w.Code == 200) {
			t.Errorf("%s: got %d %s, want an access_token only with 200", name, w.Code, w.Body)
		}
		for header, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
			"Content-Type": "application/json; charset=UTF-8", "Content-Length": strconv.Itoa(w.Body.Len())} {
			if got := h.Values(header); len(got) != 1 || got[0] != want {
				t.Errorf("%s: %s is %q, want %q", name, header, got, want)
			}
		}
		id := h.Get("X-Request-Id")
		if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(id) {
			t.Errorf("%s: X-Request-Id is %q, want 16 hexadecimal digits", name, id)
		}
		checkCacheStatus(t, name, h.Get("Cache-Status"), c.cache)
		checkLog(t, name, log.String(), c, id)
		if n := counted(t, p.carried.metrics, "igproxy_requests_total"); n != 1 {
			t.Errorf("%s: the request was counted %v times, want once", name, n)
		}
	}
}

func checkCacheStatus(t *testing.T, name, header, want string) {
	t.Helper()
	if want == "-" {
		if header != "" {
			t.Errorf("%s: Cache-Status is %q, want no such header", name, header)
		}
		return
	}
	var got []string
	for parameter, value := range cacheStatus(t, header) {
		if value != "" {
			parameter += "=" + value
		}
		got = append(got, parameter)
	}
	slices.Sort(got)
	if strings.Join(got, " ") != want {
		t.Errorf("%s: Cache-Status is %q, want %q", name, got, want)
	}
}

// checkLog checks that the log has one line "request" with known fields. The log must contain
// nothing that the client sent, no client secret and no token.
func checkLog(t *testing.T, name, log string, c ending, id string) {
	t.Helper()
	if strings.Contains(log, "canary") || strings.Contains(log, testSecret) || strings.Contains(log, "IGAA") {
		t.Errorf("%s: got the log %s, want nothing that the client sent, no client secret and no token", name, log)
	}
	var lines []map[string]any
	for _, text := range strings.Split(strings.TrimSpace(log), "\n") {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%s: the log line %q is not JSON: %v", name, text, err)
		}
		if line["msg"] == "request" {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 {
		t.Fatalf("%s: the log has %d lines with the message \"request\", want 1:\n%s", name, len(lines), log)
	}
	line := lines[0]
	want := map[string]any{"outcome": c.outcome, "source": c.source, "status": float64(c.status), "request_id": id}
	for field, value := range want {
		if line[field] != value {
			t.Errorf("%s: the log field %s is %v, want %v", name, field, line[field], value)
		}
	}
	known := []string{"time", "level", "msg", "outcome", "source", "status", "duration_ms", "request_id", "app", "grant", "code", "subcode", "class", "cause", "advice"}
	for field := range line {
		if !slices.Contains(known, field) {
			t.Errorf("%s: the log has the unknown field %s", name, field)
		}
	}
	if (line["level"] == "WARN") != (c.status >= 500) {
		t.Errorf("%s: the log level is %v for status %d, want WARN only from 500 up", name, line["level"], c.status)
	}
}

func TestExpiresInIsTheTimeLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		store := newCache(t)
		claim := &claimStep{cache: store, negativeTTL: time.Minute, next: exchangeFunc(func(context.Context, call) (answer, error) {
			asked++
			return tokenAnswer(t, "IGAAlong", 60*24*time.Hour), nil
		})}
		p := proxyOf(t, nil, nil)
		e := *p.current.Load()
		e.first = &recallStep{cache: store, next: claim}
		p.current.Store(&e)
		left := func() int {
			var got struct {
				ExpiresIn int `json:"expires_in"`
			}
			if err := json.Unmarshal(ask(p, get(target("IGAAshort"))).Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			return got.ExpiresIn
		}
		first := left()
		time.Sleep(59 * time.Minute)
		if aged := left(); first != 60*24*3600 || aged != first-59*60 || asked != 1 {
			t.Errorf("expires_in is %d at first, want 5184000; it is %d after 59 minutes, want 5180460; Meta got %d calls, want 1", first, aged, asked)
		}
	})
}

func TestRetryAfterIsRoundedUpAndNeverInThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for left, want := range map[time.Duration]string{time.Millisecond: "1", time.Second: "1", time.Second + 1: "2", 0: "", -time.Hour: ""} {
			p := proxyOf(t, nil, func(context.Context, call) (answer, error) {
				e := errBreakerOpen(0)
				e.RetryAt = time.Now().Add(left)
				return answer{}, e
			})
			if got := ask(p, get(target("IGAAshort"))).Header().Get("Retry-After"); got != want {
				t.Errorf("RetryAt in %s: Retry-After is %q, want %q", left, got, want)
			}
		}
	})
}

// A caller that closes only its sending half looks as if it had disconnected, but it still reads.
func TestAHalfClosedCallerGetsItsAnswer(t *testing.T) {
	base, arrived, open := gated(t)
	defer open()
	server := httptest.NewServer(newProxy(t, optionsFor(t, base, nil)))
	defer server.Close()
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", target("IGAAshort"))
	<-arrived
	_ = c.(*net.TCPConn).CloseWrite()
	open()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	got, err := io.ReadAll(bufio.NewReader(c))
	if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 200") {
		t.Errorf("got %q and the error %v, want a response with status 200", got, err)
	}
}
