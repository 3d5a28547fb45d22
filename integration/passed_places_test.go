package integration

// Each app has its own slots for passed-through calls. igproxy ends slow calls, so that they do not
// hold their slots for long. A call is slow if the app sends its upload or reads the response too
// slowly, or if the upstream sends the response too slowly.

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/igproxy/igproxy/integration/harness"
)

// slowSender and slowReader limit the time until igproxy ends a slow call. igproxy ends a call with
// a slow sender after 10 s, and one with a slow reader after 30 s; the rest allows for a busy
// machine.
const (
	slowSender = 15 * time.Second
	slowReader = 40 * time.Second
)

// passedUpstream answers passed-through calls after it has read their body: /large with 32 MiB,
// /drips with a byte a second, and all other paths with {}.
func passedUpstream(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n, err := io.Copy(io.Discard, r.Body); err == nil {
			w.Header().Set("X-Received", fmt.Sprint(n))
		}
		switch r.URL.Path {
		case "/large":
			_, _ = w.Write(make([]byte, 32<<20))
		case "/drips":
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, " ")
				_ = http.NewResponseController(w).Flush()
				pauseFor(r.Context(), time.Second)
			}
		default:
			_, _ = io.WriteString(w, "{}")
		}
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.URL
}

// drip starts an upload of length bytes, in pieces of part bytes, one piece every 250 ms. The
// upload stops when the response arrives. drip returns a channel for the response.
func (p *process) drip(t *testing.T, length, part int) <-chan response {
	t.Helper()
	c := p.dialApp(t)
	_, err := fmt.Fprintf(c, "POST /me/media HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\nx", length)
	must(t, err)
	ended, answered := make(chan struct{}), make(chan response, 1)
	var sending sync.WaitGroup
	sending.Go(func() {
		for sent := 1; sent < length; {
			select {
			case <-ended:
				return
			case <-time.After(250 * time.Millisecond):
			}
			n, err := io.WriteString(c, strings.Repeat("x", min(part, length-sent)))
			if err != nil {
				return
			}
			sent += n
		}
	})
	sending.Go(func() {
		defer close(ended)
		start := time.Now()
		var r response
		if res, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
			body, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			r = response{res.StatusCode, res.Header, string(body), time.Since(start)}
		}
		answered <- r
	})
	t.Cleanup(func() { _ = c.Close(); sending.Wait() })
	return answered
}

func TestDrippingUploadsAreEndedAndBlockOnlyTheirOwnApp(t *testing.T) {
	t.Parallel()
	const slots = 3
	_, settings := startMeta(t)
	p := serve(t, append(settings, "UPSTREAM_URL="+passedUpstream(t), fmt.Sprintf("PASSTHROUGH_MAX_IN_FLIGHT=%d", slots))...)
	var uploads []<-chan response
	for range slots {
		uploads = append(uploads, p.drip(t, 100_000, 1))
	}
	eventually(t, "every slot is taken", func() bool {
		return p.sum(t, "igproxy_passthrough_in_flight", `app="default"`) == slots
	})
	full := p.fetch(t, "/me")
	if e := full.graphError(t); full.status != 503 || e.Code != 2 || e.Subcode != 990027 || !e.Transient || !within(full.header.Get("Retry-After"), time.Second) {
		t.Errorf("beyond passthrough.max_in_flight: got %d %s %v; want 503 with code 2, subcode 990027, is_transient and Retry-After", full.status, full.body, full.header)
	}
	if full.took > 3*time.Second {
		t.Errorf("beyond passthrough.max_in_flight: answered after %s, want about 1s (at most 3s on a busy machine)", full.took)
	}
	if r := p.fetch(t, "/apps/threads/me"); r.status == 503 || r.took > time.Second {
		t.Errorf("another app's call: got %d %s after %s, want another status than 503 within a second", r.status, r.body, r.took)
	}
	if r := p.ask(t, "x"); r.status == 503 { // the upstream answers {}, which is not a token
		t.Errorf("a token call: got %d %s, want another status than 503", r.status, r.body)
	}
	for _, answered := range uploads {
		r := <-answered
		if r.status != 408 || r.took > slowSender {
			t.Fatalf("a dripping upload: got %d %s after %s, want 408 within %s", r.status, r.body, r.took, slowSender)
		}
		if e := r.graphError(t); e.Code != 100 || e.Subcode != 990028 || !strings.Contains(e.Message, "1 KiB") {
			t.Errorf("a dripping upload: got %s, want code 100 with subcode 990028 and the minimum rate", r.body)
		}
	}
	if r := p.fetch(t, "/me"); r.status != 200 {
		t.Errorf("after the uploads: got %d %s, want 200", r.status, r.body)
	}
}

// Nine calls share one slot. None of them fails, because a call may wait briefly for a slot.
func TestPassedThroughCallWaitsBrieflyForASlot(t *testing.T) {
	t.Parallel()
	p := serve(t, "UPSTREAM_URL="+passedUpstream(t), "PASSTHROUGH_MAX_IN_FLIGHT=1")
	crowd(9, func(i int) {
		if r, err := fetch(t.Context(), noKeepAlive, fmt.Sprint(p.URL, "/me?n=", i)); err != nil || r.status != 200 {
			t.Errorf("call %d: got %d %s, %v; want 200", i, r.status, r.body, err)
		}
	})
}

// The upload has twice the minimum rate. It lasts longer than 10 s, after which igproxy would end a
// slower upload.
func TestSlowUploadAboveTheMinimumRateIsPassedThrough(t *testing.T) {
	t.Parallel()
	p := serve(t, "UPSTREAM_URL="+passedUpstream(t))
	const length = 28 << 10
	if r := <-p.drip(t, length, 512); r.status != 200 || r.header.Get("X-Received") != fmt.Sprint(length) || r.took < 11*time.Second {
		t.Errorf("got %d %s after %s, want 200 after at least 11s; of %d bytes, %s arrived, want all", r.status, r.body, r.took, length, r.header.Get("X-Received"))
	}
}

func TestPassedThroughCallEndsIfTheAppDoesNotReadTheResponse(t *testing.T) {
	t.Parallel()
	p := serve(t, "UPSTREAM_URL="+passedUpstream(t), "PASSTHROUGH_MAX_IN_FLIGHT=1")
	c := p.dialApp(t)
	must(t, c.(*net.TCPConn).SetReadBuffer(4<<10))
	start := time.Now()
	_, err := io.WriteString(c, "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
	must(t, err)
	p.ended(t, start.Add(slowReader), "the app reads the response too slowly", "rejected")
	if r := p.fetch(t, "/me"); r.status != 200 {
		t.Errorf("afterwards: got %d %s, want 200", r.status, r.body)
	}
}

func TestPassedThroughCallEndsIfTheResponseDrips(t *testing.T) {
	t.Parallel()
	for _, rewrites := range []string{"false", "true"} {
		t.Run("rewrite_paging: "+rewrites, func(t *testing.T) {
			t.Parallel()
			p := serve(t, "UPSTREAM_URL="+passedUpstream(t), "PASSTHROUGH_REWRITE_PAGING="+rewrites)
			start := time.Now()
			r, err := fetch(t.Context(), noKeepAlive, p.URL+"/drips")
			if err == nil && r.status == 200 {
				t.Errorf("got status 200 without an error after %s, want an error or another status, because the answer is incomplete", r.took)
			}
			p.ended(t, start.Add(slowSender), "the response arrives too slowly", "timeout")
		})
	}
}

// Over HTTP/2, igproxy ends a slow call, but not the other calls on the connection.
func TestSlowPassedThroughCallEndsButItsHTTP2ConnectionDoesNot(t *testing.T) {
	t.Parallel()
	a := harness.NewAuthority(t)
	cert, key := a.Sign(t, "igproxy")
	p := serve(t, "UPSTREAM_URL="+passedUpstream(t), "TLS_CERT_FILE="+file(t, "tls.crt", cert), "TLS_KEY_FILE="+file(t, "tls.key", key))
	client := a.Client(t, nil, true)
	r, err := fetch(t.Context(), client, p.URL+"/me") // later calls use the same connection
	if err != nil || r.status != 200 {
		t.Fatalf("got %d %s, %v; want 200", r.status, r.body, err)
	}
	start := time.Now()
	res, err := client.Get(p.URL + "/large")
	must(t, err)
	defer res.Body.Close()
	if res.ProtoMajor != 2 {
		t.Fatalf("got %s, want HTTP/2", res.Proto)
	}
	body, upload := io.Pipe()
	defer upload.Close()
	post, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL+"/me/media", body)
	must(t, err)
	slow, err := client.Do(post)
	must(t, err)
	text, _ := io.ReadAll(slow.Body)
	_ = slow.Body.Close()
	if slow.StatusCode != 408 || !strings.Contains(string(text), "990028") || time.Since(start) > slowSender {
		t.Errorf("an upload without a byte: got %d %s after %s, want 408 with subcode 990028 within %s", slow.StatusCode, text, time.Since(start), slowSender)
	}
	p.ended(t, start.Add(slowReader), "the app reads the response too slowly", "rejected")
	if r, err = fetch(t.Context(), client, p.URL+"/me"); err != nil || r.status != 200 {
		t.Errorf("another call on the connection: got %d %s, %v; want 200", r.status, r.body, err)
	}
}

// ended waits until the deadline for the log line of a passed-through call with this cause and
// outcome.
func (p *process) ended(t *testing.T, deadline time.Time, cause, outcome string) {
	t.Helper()
	for time.Now().Before(deadline) {
		for _, l := range p.Log.Lines("request") {
			if l["cause"] == cause && l["outcome"] == outcome && l["grant"] == "passthrough" {
				return
			}
		}
		pauseFor(t.Context(), 50*time.Millisecond)
	}
	t.Fatalf("the log has no passed-through call with the cause %q and the outcome %q before the deadline, want one", cause, outcome)
}

// The upstream sends responses with status 103 (Early Hints) without end. The app gets at most five
// of them, and at most 64 KiB in all.
func TestInformationalAnswersAreBounded(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		if r.URL.Path == "/once" {
			_, _ = io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nAccess-Control-Allow-Origin: *\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
			return
		}
		hint := "a"
		if r.URL.Path == "/large" {
			hint = strings.Repeat("a", 8<<10)
		}
		for err == nil {
			_, err = io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nLink: </"+hint+">\r\n\r\n")
		}
	}))
	t.Cleanup(s.Close)
	p := serve(t, "UPSTREAM_URL="+s.URL)
	for path, want := range map[string]string{"/many": "HTTP/1.1 502 ", "/large": "HTTP/1.1 502 ", "/once": "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 "} {
		c := p.dialApp(t)
		_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path)
		must(t, err)
		must(t, c.SetReadDeadline(time.Now().Add(patience)))
		answer, err := io.ReadAll(io.LimitReader(c, 4<<20))
		hints := strings.Count(string(answer), "HTTP/1.1 103 ")
		if err != nil || len(answer) > 64<<10 || hints > 5 || !strings.Contains(string(answer), want) {
			t.Errorf("%s: got %d bytes (want at most 64 KiB), %d hints (want at most 5), %v; want an answer with %q", path, len(answer), hints, err, want)
		}
	}
	r := p.fetch(t, "/many")
	if e := r.graphError(t); r.status != 502 || e.Subcode != 990024 {
		t.Errorf("/many: got %d %s, want 502 with subcode 990024", r.status, r.body)
	}
}
