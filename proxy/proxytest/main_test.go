package proxytest

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testSecret = "0123456789abcdef0123456789abcdef"
	patience   = 20 * time.Second // bounds every wait; nothing waits that long on a healthy machine
)

// stand is a stand-in on a real socket and a client of its own, which follows no redirect and repeats no request.
type stand struct {
	*Instagram
	server    *Server
	transport *http.Transport
}

func newStand(t *testing.T, o ServerOptions) *stand {
	t.Helper()
	i := New(Options{Secret: testSecret})
	server, err := Start(i, o)
	if err != nil {
		t.Fatal(err)
	}
	s := &stand{Instagram: i, server: server}
	s.transport = s.newTransport(o.TLS)
	t.Cleanup(func() {
		s.transport.CloseIdleConnections()
		server.Close()
	})
	return s
}

func (s *stand) newTransport(overTLS bool) *http.Transport {
	tr := &http.Transport{DisableKeepAlives: !overTLS, ForceAttemptHTTP2: true}
	if overTLS {
		tr.TLSClientConfig = clientTLS(s.server)
	}
	return tr
}

// answer is what a client saw, whole or not.
type answer struct {
	status int
	header http.Header
	body   string
	proto  int
	err    error // of the call, or of the body
}

func query(token string) string {
	return "grant_type=ig_exchange_token&client_secret=" + testSecret + "&access_token=" + url.QueryEscape(token)
}

// exchange is what igproxy sends.
func (s *stand) exchange(t *testing.T, token string) answer {
	t.Helper()
	return s.get(t, "/access_token?"+query(token))
}

func (s *stand) get(t *testing.T, target string) answer {
	t.Helper()
	return s.send(t, http.MethodGet, target, nil, nil)
}

func (s *stand) send(t *testing.T, method, target string, body io.Reader, header http.Header) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return s.sendCtx(ctx, method, target, body, header)
}

func (s *stand) sendCtx(ctx context.Context, method, target string, body io.Reader, header http.Header) answer {
	r, err := http.NewRequestWithContext(ctx, method, s.server.URL+target, body)
	if err != nil {
		return answer{err: err}
	}
	if header != nil {
		r.Header = header
	}
	res, err := s.transport.RoundTrip(r)
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(text), res.ProtoMajor, err}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
		time.Sleep(time.Millisecond)
	}
}
