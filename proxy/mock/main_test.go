package mock

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testSecret = "0123456789abcdef0123456789abcdef"
	patience   = 20 * time.Second // limit of every wait; rarely reached
)

// stand is a stand-in on a real socket, and a client that follows no redirects. Without TLS, each
// request has its own connection, so the client never repeats a request.
type stand struct {
	*Instagram
	server    *Server
	transport *http.Transport
}

func newStand(t *testing.T, o ServerOptions) *stand {
	t.Helper()
	return newStandOf(t, Options{Secret: testSecret}, o)
}

func newStandOf(t *testing.T, of Options, o ServerOptions) *stand {
	t.Helper()
	i := New(of)
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

// answer is a response as the client saw it, complete or not.
type answer struct {
	status int
	header http.Header
	body   string
	proto  int   // the major version of HTTP
	err    error // from the call, or from reading the body
}

func query(token string) string {
	return "grant_type=ig_exchange_token&client_secret=" + testSecret + "&access_token=" + url.QueryEscape(token)
}

// exchange sends a token exchange as igproxy does.
func (s *stand) exchange(t *testing.T, token string) answer {
	t.Helper()
	return s.get(t, "/access_token?"+query(token))
}

// refresh sends a refresh as igproxy does.
func (s *stand) refresh(t *testing.T, token string) answer {
	t.Helper()
	return s.get(t, "/refresh_access_token?grant_type=ig_refresh_token&access_token="+url.QueryEscape(token))
}

const (
	testApp      = "990602627938098"
	testRedirect = "https://app.example/callback?x=1"
	urlencoded   = "application/x-www-form-urlencoded"
)

// loginForm returns the form with which igproxy exchanges a code. changes are pairs of a parameter
// and its new value.
func loginForm(code string, changes ...string) url.Values {
	form := url.Values{"client_id": {testApp}, "client_secret": {testSecret}, "grant_type": {"authorization_code"},
		"redirect_uri": {testRedirect}, "code": {code}}
	for n := 0; n < len(changes); n += 2 {
		form.Set(changes[n], changes[n+1])
	}
	return form
}

func (s *stand) login(t *testing.T, form url.Values) answer {
	t.Helper()
	return s.post(t, "/oauth/access_token", urlencoded, form.Encode())
}

func (s *stand) post(t *testing.T, target, contentType, body string) answer {
	t.Helper()
	return s.send(t, http.MethodPost, target, strings.NewReader(body), http.Header{"Content-Type": {contentType}})
}

// wantCode checks that an answer is a refusal with this status, code and subcode.
func wantCode(t *testing.T, what string, a answer, status, code, subcode int) {
	t.Helper()
	var env struct{ Error graphError }
	err := json.Unmarshal([]byte(a.body), &env)
	if a.err != nil || err != nil || a.status != status || env.Error.Code != code || env.Error.Subcode != subcode {
		t.Errorf("%s: got %d %.300s (error %v), want %d with the code and subcode %d/%d", what, a.status, a.body, a.err, status, code, subcode)
	}
}

// tokenOf returns the access_token of a, which must be a success.
func tokenOf(t *testing.T, a answer) string {
	t.Helper()
	var members struct {
		Token string `json:"access_token"`
		Data  []struct {
			Token string `json:"access_token"`
		}
	}
	if err := json.Unmarshal([]byte(a.body), &members); err != nil || a.status != 200 {
		t.Fatalf("got %d %.300s (error %v), want a token", a.status, a.body, a.err)
	}
	for _, d := range members.Data {
		return d.Token
	}
	return members.Token
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

// eventually waits until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s, but this did not happen: %s", patience, what)
		}
		time.Sleep(time.Millisecond)
	}
}
