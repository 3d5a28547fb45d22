package passthrough_test

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/passthrough"
)

// sidecar is a server that passes every call through to an upstream.
type sidecar struct {
	*httptest.Server
	base    *url.URL                // of the upstream
	results chan passthrough.Result // of each call
	refused func(token string, status int, body []byte)
	replace func(token string) string
	invalid func(status int, body []byte) bool
	prove   func(token string) string
	proofOf func(token string) string
}

// newSidecar returns a sidecar in front of an upstream that runs response for each call.
func newSidecar(t *testing.T, o passthrough.Options, response http.HandlerFunc) *sidecar {
	t.Helper()
	upstream := httptest.NewServer(response)
	t.Cleanup(upstream.Close)
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	o.Transport, o.Timeout, o.MaxBodyBytes = transport, cmp.Or(o.Timeout, time.Minute), cmp.Or(o.MaxBodyBytes, 64<<20)
	o.IsOwnToken = func(token string) bool { return token == ownToken }
	p := passthrough.New(o)
	s := &sidecar{results: make(chan passthrough.Result, 1)}
	s.base, _ = url.Parse(upstream.URL)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := p.Serve(w, r, passthrough.Call{Base: s.base, Path: r.URL.EscapedPath(), Own: "http://" + r.Host,
			OnResponse: func(int, http.Header) {}, OnRefused: s.refused, Replace: s.replace, IsInvalid: s.invalid, Proof: s.prove,
			ProofOf: s.proofOf})
		s.results <- got
		switch {
		case got.Cut:
			panic(http.ErrAbortHandler)
		case got.Err != nil:
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// call sends a request. It returns the status and the body of the response, the Result, and the
// error of the client if the request fails or the response cannot be read.
func (s *sidecar) call(t *testing.T, r *http.Request) (status int, body string, got passthrough.Result, err error) {
	t.Helper()
	client := s.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := client.Do(r)
	if err != nil {
		return 0, "", <-s.results, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), <-s.results, err
}

func (s *sidecar) request(t *testing.T, method, target, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestACallIsSentAsTheAppWroteIt(t *testing.T) {
	var uri, sent string
	var header http.Header
	o := passthrough.Options{DropHeaders: []string{"X-Drop"}}
	s := newSidecar(t, o, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		uri, sent, header = r.RequestURI, string(body), r.Header
		w.Header().Set("X-Of-Meta", "1")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "done")
	})
	r := s.request(t, http.MethodPost, "/v23.0/1%2Fx//y?fields=a;b&&x=%zz", "text")
	for name, value := range map[string]string{"Authorization": "Bearer IGAA", "X-Of-The-App": "1", "X-Drop": "1",
		"Connection": "X-Hop, Upgrade", "X-Hop": "1", "Upgrade": "websocket", "X-Forwarded-For": "10.0.0.1",
		"User-Agent": ""} {
		r.Header.Set(name, value)
	}
	status, body, got, err := s.call(t, r)
	want := passthrough.Result{Status: http.StatusCreated}
	if err != nil || status != http.StatusCreated || body != "done" || got != want {
		t.Errorf("status: got %d, want 201; body: got %q, want \"done\"; result: got %+v, want %+v; error: got %v, want nil", status, body, got, want, err)
	}
	if want := "/v23.0/1%2Fx//y?fields=a;b&&x=%zz"; uri != want || sent != "text" {
		t.Errorf("Meta got %s with the body %q, want %s with the body \"text\"", uri, sent, want)
	}
	for name, want := range map[string]string{"Authorization": "Bearer IGAA", "X-Of-The-App": "1", "X-Drop": "",
		"Connection": "", "X-Hop": "", "Upgrade": "", "X-Forwarded-For": "", "X-Forwarded-Host": "",
		"User-Agent": "", "Accept-Encoding": "gzip"} {
		if got := header.Get(name); got != want { // Accept-Encoding comes from the test's client
			t.Errorf("Meta got %s %q, want %q", name, got, want)
		}
	}
}

const ownToken = "the-sidecars-own-token"

// A call carries at most one bearer token, and never igproxy's own.
// TestAuthorizationIsPassedOnOnlyIfItIsASingleBearerToken in ../../integration covers all
// spellings.
func TestOnlyTheUsersBearerIsSentOn(t *testing.T) {
	var authorization []string
	s := newSidecar(t, passthrough.Options{}, func(_ http.ResponseWriter, r *http.Request) {
		authorization = r.Header["Authorization"]
	})
	for sent, want := range map[string]string{"bearer  IGAA": "Bearer IGAA", "Bearer " + ownToken: "", "Basic YTpi": ""} {
		r := s.request(t, http.MethodGet, "/me", "")
		r.Header.Set("Authorization", sent)
		status, _, _, err := s.call(t, r)
		if got := strings.Join(authorization, ", "); status != http.StatusOK || err != nil || got != want {
			t.Errorf("%s: got status %d, want 200; got error %v, want nil; Meta got the Authorization %q, want %q", sent, status, err, got, want)
		}
	}
}

func TestARedirectIsPassedOnAndNotFollowed(t *testing.T) {
	calls := 0
	s := newSidecar(t, passthrough.Options{}, func(w http.ResponseWriter, r *http.Request) {
		calls++
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	})
	status, _, got, err := s.call(t, s.request(t, http.MethodGet, "/me", ""))
	if status != http.StatusFound || got.Status != status || err != nil || calls != 1 {
		t.Errorf("got status %d after %d calls, want 302 after 1; got result %+v, want status 302; got error %v, want nil", status, calls, got, err)
	}
}

func TestResponsesAreStreamed(t *testing.T) {
	next := make(chan struct{})
	s := newSidecar(t, passthrough.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		for range 2 {
			_, _ = io.WriteString(w, "line\n")
			_ = http.NewResponseController(w).Flush()
			<-next
		}
	})
	res, err := http.Get(s.URL + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	for range 2 { // the second line is not written before the first has arrived
		if line, err := lines.ReadString('\n'); line != "line\n" {
			t.Fatalf("got the line %q, want \"line\\n\"; error: %v", line, err)
		}
		next <- struct{}{}
	}
	if _, err := lines.ReadByte(); err != io.EOF {
		t.Errorf("after the second line: got the error %v, want io.EOF", err)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestBodiesAreBoundedInBothDirections(t *testing.T) {
	long := strings.Repeat("x", 1001)
	for name, c := range map[string]struct {
		request  string
		response http.HandlerFunc
		err      error
		cut      bool
	}{
		"a request that is too large": {long, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
		}, passthrough.ErrBodyTooLarge, false},
		"a response that announces its length": {"", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1001")
		}, passthrough.ErrResponseTooLong, false},
		"a streamed response": {"", func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, long)
		}, nil, true},
		"both at the limit": {long[1:], func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, long[1:])
		}, nil, false},
	} {
		s := newSidecar(t, passthrough.Options{MaxBodyBytes: 1000}, c.response)
		_, body, got, err := s.call(t, s.request(t, http.MethodPost, "/media", c.request))
		if !errors.Is(got.Err, c.err) || (got.Status == 0) != (c.err != nil) ||
			got.Cut != c.cut || (err != nil) != c.cut || len(body) > 1000 {
			t.Errorf("%s: got %d bytes, want at most 1000; got result %+v, want Err %v and Cut %v; the client failed: %v, want %v; its error: %v", name, len(body), got, c.err, c.cut, err != nil, c.cut, err)
		}
	}
}

// The response to a HEAD request has no body, whatever length it announces.
func TestTheLengthInAResponseToHEADIsNotLimited(t *testing.T) {
	o := passthrough.Options{MaxBodyBytes: 1000, RewritePaging: true, MaxJSONBytes: 1000}
	s := newSidecar(t, o, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "5000")
	})
	res, err := http.Head(s.URL + "/me")
	if err != nil {
		t.Fatal(err)
	}
	if got := <-s.results; got.Status != http.StatusOK || res.ContentLength != 5000 {
		t.Errorf("got the result %+v, want status 200; got the length %d, want 5000", got, res.ContentLength)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestAResponseThatBreaksOffEndsInAnErrorForTheClient(t *testing.T) {
	s := newSidecar(t, passthrough.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	_, _, got, err := s.call(t, s.request(t, http.MethodGet, "/me", ""))
	if err == nil || !got.Cut || got.Err != nil || got.Status != http.StatusOK {
		t.Errorf("got the result %+v, want status 200 with Cut and no Err; the client got the error %v, want an error", got, err)
	}
}

// Upgrade is not passed on. A response that switches protocols anyway is refused, because its body
// would be the connection itself.
func TestProtocolUpgradesAreRefused(t *testing.T) {
	s := newSidecar(t, passthrough.Options{}, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Upgrade"); got != "" {
			t.Errorf("Meta got the header Upgrade: %s, want no such header", got)
		}
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
	})
	r := s.request(t, http.MethodGet, "/me", "")
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	status, _, got, err := s.call(t, r)
	if status != http.StatusTeapot || !errors.Is(got.Err, passthrough.ErrSwitching) || err != nil {
		t.Errorf("got status %d, want 418; got result %+v, want Err %v; got error %v, want nil", status, got, passthrough.ErrSwitching, err)
	}
}

// The app gets a response after a timeout, because the deadlines of its connection are later than
// the deadline of the call to Meta.
func TestTheAppGetsAResponseAfterATimeout(t *testing.T) {
	hangs := make(chan struct{})
	o := passthrough.Options{Timeout: 50 * time.Millisecond}
	s := newSidecar(t, o, func(http.ResponseWriter, *http.Request) { <-hangs })
	defer close(hangs)
	for range 10 {
		status, _, got, err := s.call(t, s.request(t, http.MethodGet, "/me", ""))
		if status != http.StatusTeapot || got.Err == nil || got.Status != 0 || err != nil {
			t.Fatalf("got status %d, want 418; got result %+v, want an Err and no status; got error %v, want nil", status, got, err)
		}
	}
}

func TestAnUpstreamThatIsDownIsAnError(t *testing.T) {
	s := newSidecar(t, passthrough.Options{}, func(http.ResponseWriter, *http.Request) {})
	s.base = &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	if _, _, got, _ := s.call(t, s.request(t, http.MethodGet, "/me", "")); got.Err == nil || got.Status != 0 || got.Cut {
		t.Errorf("got the result %+v, want an Err, no status and no Cut", got)
	}
}

func TestPagingURLsPointAtTheSidecar(t *testing.T) {
	const official = "https://graph.instagram.com"
	response := func(kind, encoding, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") != "identity" {
				t.Errorf("Accept-Encoding is %q, want identity: a compressed response cannot be rewritten", r.Header.Get("Accept-Encoding"))
			}
			w.Header().Set("Content-Type", kind)
			if encoding != "" {
				w.Header().Set("Content-Encoding", encoding)
			}
			_, _ = io.WriteString(w, text)
		}
	}
	const json = "application/json; charset=UTF-8"
	long := strings.Repeat(" ", 300)
	for name, c := range map[string]struct{ kind, encoding, before, after string }{
		"plain":           {json, "", `{"next":"` + official + `/1?after=Q"}`, `{"next":"OWN/1?after=Q"}`},
		"spaces":          {json, "", `{"previous" : "` + official + `/1"}`, `{"previous" : "OWN/1"}`},
		"escaped":         {json, "", `{"next":"https:\/\/graph.threads.net\/1"}`, `{"next":"http:\/\/HOST\/1"}`},
		"the host called": {json, "", `{"next":"BASE/1"}`, `{"next":"OWN/1"}`},
		"a caption":       {json, "", `{"caption":"see ` + official + `/1"}`, `{"caption":"see ` + official + `/1"}`},
		"another host":    {json, "", `{"next":"` + official + `.evil.example"}`, `{"next":"` + official + `.evil.example"}`},
		"not JSON":        {"text/plain", "", `{"next":"` + official + `/1"}`, `{"next":"` + official + `/1"}`},
		"compressed":      {json, "br", `{"next":"` + official + `/1"}`, `{"next":"` + official + `/1"}`},
		"too long":        {json, "", long + `{"next":"` + official + `/1"}`, long + `{"next":"` + official + `/1"}`},
	} {
		var s *sidecar
		o := passthrough.Options{RewritePaging: true, MaxJSONBytes: 300}
		s = newSidecar(t, o, func(w http.ResponseWriter, r *http.Request) {
			response(c.kind, c.encoding, strings.ReplaceAll(c.before, "BASE", s.base.String()))(w, r)
		})
		host := strings.TrimPrefix(s.URL, "http://")
		want := strings.ReplaceAll(strings.ReplaceAll(c.after, "OWN", s.URL), "HOST", host)
		_, body, got, err := s.call(t, s.request(t, http.MethodGet, "/1", ""))
		if err != nil || body != want || got.Status != http.StatusOK {
			t.Errorf("%s: got the body %s, want %s; got result %+v, error %v, want status 200", name, body, want, got, err)
		}
	}
}

func TestACompressedResponseStaysUnchangedWithoutRewritePaging(t *testing.T) {
	const page = `{"paging":{"next":"https://graph.instagram.com/1"}}`
	s := newSidecar(t, passthrough.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, page)
		_ = z.Close()
	})
	r := s.request(t, http.MethodGet, "/1", "")
	r.Header.Set("Accept-Encoding", "gzip")
	_, body, _, err := s.call(t, r)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(z); string(text) != page || err != nil {
		t.Errorf("got the text %s, want %s; got error %v, want nil", text, page, err)
	}
}
