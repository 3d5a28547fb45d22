package mock

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// The URI and the values of headers are recorded as sent: nothing is sorted, decoded or added.
func TestRequestsAreKeptExactlyAsTheyArrived(t *testing.T) {
	s := newStand(t, ServerOptions{})
	conn, err := net.Dial("tcp", s.server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const uri = "/v23.0/me%2fx/media?b=2&&a=%C3%A9+%zz&access_token=IGAA1"
	_, _ = io.WriteString(conn, "POST "+uri+" HTTP/1.1\r\nhost: graph.instagram.com\r\nx-odd:  a,b \r\nX-Odd: c\r\nContent-Length: 3\r\n"+
		"User-Agent: app/1\r\nConnection: close\r\n\r\nx\x00y")
	if got, err := io.ReadAll(conn); err != nil {
		t.Fatalf("cannot read the response: got %s (error %v)", got, err)
	}
	want := Request{Endpoint: "other", Proto: "HTTP/1.1", Method: "POST", URI: uri, Path: "/v23.0/me%2fx/media",
		RawQuery: "b=2&&a=%C3%A9+%zz&access_token=IGAA1", Host: "graph.instagram.com", Length: 3,
		Header: http.Header{"X-Odd": {"a,b", "c"}, "Content-Length": {"3"}, "User-Agent": {"app/1"}, "Connection": {"close"}}}
	if got := s.Requests(); len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestKeptRequestHasTheSizeHashAndStartOfItsBody(t *testing.T) {
	s := newStand(t, ServerOptions{})
	upload, err := io.ReadAll(Stream(3 << 20))
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]io.Reader{"announced": bytes.NewReader(upload), "chunked": io.MultiReader(bytes.NewReader(upload))} {
		s.Reset()
		a := s.send(t, "POST", "/me/media?access_token=IGAA1", body, http.Header{"Content-Type": {"video/mp4"}})
		if a.status != 200 {
			t.Fatalf("%s: got %d %s (error %v), want 200", name, a.status, a.body, a.err)
		}
		sum := sha256.Sum256(upload)
		r := s.Requests()[0]
		if r.Bytes != 3<<20 || r.SHA256 != hex.EncodeToString(sum[:]) || !bytes.Equal(r.Body, upload[:keptBytes]) {
			t.Errorf("%s: got %d bytes, want %d; SHA-256 %s, want %x; kept %d bytes, want the first %d", name, r.Bytes, 3<<20, r.SHA256, sum, len(r.Body), keptBytes)
		}
		if want := map[string]int64{"announced": 3 << 20, "chunked": -1}[name]; r.Length != want || r.Endpoint != "write" {
			t.Errorf("%s: got the announced length %d, want %d; endpoint %q, want write", name, r.Length, want, r.Endpoint)
		}
	}
}

// Bytes of an upload are visible as they arrive, so that a test can see whether a proxy streams.
func TestUploadIsVisibleWhileItArrives(t *testing.T) {
	s := newStand(t, ServerOptions{})
	r, w := io.Pipe()
	done := make(chan answer)
	go func() { done <- s.sendCtx(t.Context(), "POST", "/me/media?access_token=IGAA1", r, nil) }()
	for n := range int64(3) {
		_, _ = w.Write([]byte("x"))
		eventually(t, "the byte arrived", func() bool { q := s.Requests(); return len(q) == 1 && q[0].Bytes == n+1 })
	}
	if s.Calls() != 1 || s.CallsTo("write") != 0 {
		t.Errorf("%d calls, want 1; %d writes while the body is incomplete, want 0", s.Calls(), s.CallsTo("write"))
	}
	w.Close()
	if a := <-done; a.status != 200 || s.CallsTo("write") != 1 {
		t.Errorf("got %d %s (error %v), want 200; %d writes, want 1", a.status, a.body, a.err, s.CallsTo("write"))
	}
}

// A handler stops waiting for a body when its client disconnects and when the stand-in is closed.
func TestUploadEndsWhenItsClientDisconnectsOrTheStandInCloses(t *testing.T) {
	s := newStand(t, ServerOptions{})
	begin := func(addr string) net.Conn {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(conn, "POST /me/media?access_token=IGAA1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx")
		return conn
	}
	conn := begin(s.server.Addr)
	eventually(t, "the upload is in flight", func() bool { return s.currentCounters().stats().BodyBytes == 1 })
	conn.Close()
	eventually(t, "the upload ended with its client", func() bool { return s.currentCounters().stats().InFlight == 0 })

	other := httptest.NewServer(s.Instagram)
	defer other.Close() // waits for its handlers
	conn = begin(other.Listener.Addr().String())
	defer conn.Close()
	eventually(t, "another upload is in flight", func() bool { return s.currentCounters().stats().BodyBytes == 2 })
	s.Instagram.Close()
	if got, err := io.ReadAll(conn); len(got) != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %q (error %v), want the connection to end without a response", got, err)
	}
}

func TestTheLatestRequestsAreKept(t *testing.T) {
	i := New(Options{})
	for n := range maxRequests + 3 {
		i.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", fmt.Sprintf("/me?n=%d", n), nil))
	}
	i.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/__stats", nil))
	got := i.Requests()
	if len(got) != maxRequests || got[0].URI != "/me?n=3" || got[maxRequests-1].URI != fmt.Sprintf("/me?n=%d", maxRequests+2) {
		t.Errorf("got %d requests from %s to %s, want %d from /me?n=3 to /me?n=%d", len(got), got[0].URI, got[len(got)-1].URI, maxRequests, maxRequests+2)
	}
	i.Reset()
	if n := len(i.Requests()); n != 0 {
		t.Errorf("after a reset: got %d requests, want 0", n)
	}
}

// TestLogContainsNoTokenOrSecret checks the exchange; this test checks the other endpoints.
func TestOtherEndpointsLogNoTokenOrSecret(t *testing.T) {
	var log strings.Builder
	i := New(Options{Secret: testSecret, Facebook: App{facebookApp, facebookSecret}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	code := i.Code("", "")
	i.Revoke("EAA-canary", 460)
	for _, r := range []*http.Request{
		httptest.NewRequest("POST", "/oauth/access_token", strings.NewReader(loginForm(code).Encode())),
		httptest.NewRequest("GET", "/refresh_access_token?grant_type=ig_refresh_token&access_token=IGAA-canary", nil),
		httptest.NewRequest("GET", "/me/media?access_token=IGAA-canary", nil),
		httptest.NewRequest("POST", "/me/media?access_token=IGAA-canary", strings.NewReader("caption=IGAA-canary")),
		httptest.NewRequest("GET", extendQuery("fb-canary"), nil),
		httptest.NewRequest("GET", appTokenQuery(facebookApp, facebookSecret), nil),
		httptest.NewRequest("GET", "/debug_token?input_token=EAAfb-canary&access_token="+url.QueryEscape(facebookKey), nil),
	} {
		r.Header.Set("Content-Type", urlencoded)
		w := httptest.NewRecorder()
		if i.ServeHTTP(w, r); w.Code != 200 {
			t.Fatalf("%s: got %d %s, want 200", r.URL.Path, w.Code, w.Body)
		}
	}
	everything := log.String() + fmt.Sprintf("%+v %#v %+v %+v %#v %+v", *i.currentCounters(), i.currentCounters().fullStats(), i.issued.tokens, i.issued.codes, i.apps, i.issued.revoked)
	for _, secret := range []string{code, "IGAA-canary", testSecret, i.Issued(code)[0], i.Issued("IGAA-canary")[0], facebookSecret, "fb-canary", "EAA-canary",
		i.Issued("fb-canary")[0], i.Issued(facebookApp)[0]} {
		if strings.Contains(everything, secret) {
			t.Errorf("log and printed values: got a text with %s..., want no token, code or secret", secret[:8])
		}
	}
	if strings.Count(log.String(), "token="+hashOf("IGAA-canary")) != 3 || !strings.Contains(log.String(), "endpoint=code token="+hashOf(code)) {
		t.Errorf("log: got %q, want three lines with the hash of IGAA-canary, and a line with endpoint=code and the hash of the code", log.String())
	}
}
