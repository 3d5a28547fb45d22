package integration

// No client can fill the log. igproxy writes at most log.lines lines of each kind per second, and
// the next line of the kind says how many lines were left out.

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// fewLines is a value of log.lines that a flood exceeds at once.
const fewLines = 20

// bounded checks the log lines of one kind that were written since a time. At most fewLines may
// have been written per second. The written lines and the lines that they report as left out
// (not_logged) must add up to n. The caller must cause the last line in a later second than the
// others, because only a written line reports the lines that were left out before it.
func bounded(t *testing.T, lines []map[string]any, since time.Time, n int) {
	t.Helper()
	seconds := int(time.Since(since)/time.Second) + 2 // the first and the last second may be partial
	skipped := 0
	for _, line := range lines {
		left, _ := line["not_logged"].(float64)
		skipped += int(left)
	}
	if len(lines) > seconds*fewLines || len(lines) < fewLines {
		t.Errorf("%d lines in %d seconds, want from %d to %d", len(lines), seconds, fewLines, seconds*fewLines)
	}
	if len(lines)+skipped != n {
		t.Errorf("%d lines and %d left out, want %d in all", len(lines), skipped, n)
	}
	t.Logf("%d of %d were logged", len(lines), n)
}

// 16 connections without igproxy's own token once caused 27 MB of log a second.
func TestStrangersCannotFillTheLog(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "AUTH_BEARER_FILE="+file(t, "token", ownToken), "LOG_LINES="+strconv.Itoa(fewLines))
	const connections, each = 16, 500
	start := time.Now()
	crowd(connections, func(int) {
		c, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		go func() { // ends with the connection
			_, _ = io.WriteString(c, strings.Repeat("GET /me HTTP/1.1\r\nHost: localhost\r\n\r\n", each))
		}()
		for r, n := bufio.NewReader(c), 0; n < each; n++ {
			res, err := http.ReadResponse(r, nil)
			if err != nil || res.StatusCode != 401 {
				t.Errorf("response %d: got %v, %v; want 401", n, res, err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
		}
	})
	// Lines of another kind are still written.
	if r := getWith(t, p.URL+exchangePath("IGAA-mine"), "X-Igproxy-Token", ownToken); r.status != 200 {
		t.Errorf("with the token: got %d, want 200", r.status)
	}
	time.Sleep(time.Second) // the next line is written in another second
	getWith(t, p.URL+"/me")
	p.Stop(t)
	var strangers []map[string]any
	tokens := 0
	for _, line := range p.Log.Lines("request") {
		switch line["status"] {
		case 401.0:
			strangers = append(strangers, line)
		case 200.0:
			tokens++
		}
	}
	bounded(t, strangers, start, connections*each+1)
	if tokens != 1 {
		t.Errorf("%d lines about the exchange, want 1", tokens)
	}
}

func TestBrokenHandshakesCannotFillTheLog(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	cert, key := harness.NewAuthority(t).Sign(t, "igproxy")
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "TLS_CERT_FILE="+file(t, "tls.crt", cert), "TLS_KEY_FILE="+file(t, "tls.key", key),
		"LOG_LINES="+strconv.Itoa(fewLines))
	const each = 1000
	start := time.Now()
	connect := func(n int) {
		for range n {
			c, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "https://"))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(c, "SSH-2.0-not TLS at all\r\n")
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}
	connect(each)
	time.Sleep(time.Second) // the next line is written in another second
	connect(1)
	p.Stop(t)
	var lines []map[string]any
	for text := range strings.Lines(p.Log.String()) {
		if line := map[string]any{}; strings.Contains(text, "TLS handshake error") && json.Unmarshal([]byte(text), &line) == nil {
			lines = append(lines, line)
		}
	}
	bounded(t, lines, start, each+1)
}

func TestOtherUsersCannotFillTheLog(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	socket := t.TempDir() + "/s"
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "LISTEN=unix:"+socket, "AUTH_UIDS="+strconv.Itoa(os.Getuid()+1), "LOG_LINES="+strconv.Itoa(fewLines))
	const each = 1000
	start := time.Now()
	connect := func(n int) {
		for range n {
			c, err := net.Dial("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}
	connect(each)
	time.Sleep(time.Second) // the next line is written in another second
	connect(1)
	if got := p.metric(t, "igproxy_peers_refused_total"); got != each+1 {
		t.Errorf("%v refused connections are counted, want %d", got, each+1)
	}
	p.Stop(t)
	bounded(t, p.Log.Lines("connection refused by auth.uids"), start, each+1)
}
