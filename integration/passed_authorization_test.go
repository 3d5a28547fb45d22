package integration

// igproxy drops Authorization headers, except a single header with a well-formed bearer token.
// igproxy never passes on its own token.

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// recorder is an upstream that keeps what it receives.
type recorder struct {
	URL string

	mu   sync.Mutex // protects the fields below
	all  []string   // each request, as text
	auth [][]string // the Authorization fields of each request
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	rec := &recorder{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		rec.mu.Lock()
		rec.all = append(rec.all, fmt.Sprint(r.Method, " ", r.RequestURI, "\n", r.Header, "\n", string(body)))
		rec.auth = append(rec.auth, r.Header["Authorization"])
		rec.mu.Unlock()
		says(200, "application/json", goodAnswer)(w, r)
	}))
	t.Cleanup(s.Close)
	rec.URL = s.URL
	return rec
}

// take returns what has been received since the last take.
func (rec *recorder) take() (all []string, auth [][]string) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	all, auth = rec.all, rec.auth
	rec.all, rec.auth = nil, nil
	return all, auth
}

// raw sends a GET with these header lines on a new connection, and returns the whole response.
func (p *process) raw(t *testing.T, target string, lines ...string) string {
	t.Helper()
	c := p.dialApp(t)
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n", target, strings.Join(append(lines, ""), "\r\n"))
	must(t, err)
	answer, err := io.ReadAll(c)
	must(t, err)
	return string(answer)
}

func TestAuthorizationIsPassedOnOnlyIfItIsASingleBearerToken(t *testing.T) {
	t.Parallel()
	rec := newRecorder(t)
	p := serve(t, "UPSTREAM_URL="+rec.URL)
	const sent = "Bearer IGAA-user_1.2~3+4/5|6=="
	for name, c := range map[string]struct{ lines, want []string }{
		"a bearer token":              {[]string{"Authorization: " + sent}, []string{sent}},
		"another case, more spaces":   {[]string{"authorization:   bEARER   IGAA-user_1.2~3+4/5|6==  "}, []string{sent}},
		"no header":                   {nil, nil},
		"Basic":                       {[]string{"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("a:b"))}, nil},
		"another scheme":              {[]string{"Authorization: OAuth IGAA-user"}, nil},
		"no scheme":                   {[]string{"Authorization: IGAA-user"}, nil},
		"no token":                    {[]string{"Authorization: Bearer"}, nil},
		"empty":                       {[]string{"Authorization:"}, nil},
		"a tab":                       {[]string{"Authorization: Bearer\tIGAA-user"}, nil},
		"two fields":                  {[]string{"Authorization: Bearer IGAA-user", "Authorization: Bearer IGAA-other"}, nil},
		"the same twice":              {[]string{"Authorization: " + sent, "authorization: " + sent}, nil},
		"Bearer and Basic":            {[]string{"Authorization: Bearer IGAA-user", "Authorization: Basic YTpi"}, nil},
		"a list":                      {[]string{"Authorization: Bearer IGAA-user, Bearer IGAA-other"}, nil},
		"a list without spaces":       {[]string{"Authorization: Bearer IGAA-user,IGAA-other"}, nil},
		"parameters":                  {[]string{`Authorization: Bearer token="IGAA-user"`}, nil},
		"bytes that are not ASCII":    {[]string{"Authorization: Bearer IGAA-\xc3\xbcser"}, nil},
		"a folded line":               {[]string{"Authorization: Bearer IGAA-user", " Basic YTpi"}, nil},
		"a hop-by-hop bearer":         {[]string{"Connection: Authorization", "Authorization: " + sent}, nil},
		"the header of another proxy": {[]string{"Proxy-Authorization: Bearer IGAA-user"}, nil},
	} {
		answer := p.raw(t, "/me", c.lines...)
		_, auth := rec.take()
		if strings.HasPrefix(answer, "HTTP/1.1 400 ") && len(auth) == 0 && name == "a folded line" {
			continue // net/http may refuse a folded line
		}
		if !strings.HasPrefix(answer, "HTTP/1.1 200 ") || len(auth) != 1 || !slices.Equal(auth[0], c.want) {
			t.Errorf("%s: the upstream got %q, want %q; want 200 for the app, which got\n%s", name, auth, c.want, answer)
		}
	}
}

func TestSidecarsOwnTokenIsNeverPassedOn(t *testing.T) {
	t.Parallel()
	rec := newRecorder(t)
	p := serve(t, "UPSTREAM_URL="+rec.URL, "AUTH_BEARER_FILE="+file(t, "token", ownToken))
	basic := func(pair string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair)) }
	const own = "X-Igproxy-Token: " + ownToken
	values := []string{"Bearer " + ownToken, "bearer " + ownToken, "BEARER    " + ownToken + "  ", "Bearer\t" + ownToken, "\tBearer " + ownToken,
		"Bearer \t " + ownToken, `Bearer "` + ownToken + `"`, "Bearer IGAA-user, Bearer " + ownToken, "Bearer " + ownToken + ", Bearer IGAA-user", "Bearer IGAA-user," + ownToken,
		basic("igproxy:" + ownToken), basic(ownToken + ":"), basic(ownToken + ":x"), basic(ownToken), "basic" + basic("x:" + ownToken)[5:], "Basic " + ownToken,
		basic("x:"+ownToken) + ", Bearer IGAA-user", "Token " + ownToken, "OAuth " + ownToken, ownToken, "Digest username=" + ownToken}
	var all [][]string
	for _, v := range values {
		all = append(all, []string{own, "Authorization: " + v}, []string{own, "Authorization: Bearer IGAA-user", "authorization: " + v},
			[]string{own, "Authorization: " + v, "AUTHORIZATION: Bearer IGAA-user"}, []string{own, "Proxy-Authorization: " + v})
	}
	all = append(all, []string{own}, []string{"Authorization: " + basic("igproxy:"+ownToken)}, []string{"Authorization: " + basic(":"+ownToken)})
	const exchange = "/access_token?grant_type=ig_exchange_token"
	reached := 0
	for _, lines := range all {
		for _, target := range []string{"/me", exchange, exchange + "&access_token=" + ownToken, exchange + "&access_token=IGAA-user"} {
			answer := p.raw(t, target, lines...)
			if strings.HasPrefix(answer, "HTTP/1.1 401 ") {
				t.Fatalf("%q: igproxy did not accept its own token: %s", lines, answer)
			}
			requests, _ := rec.take()
			reached += len(requests)
			for _, request := range requests {
				for form, needle := range forms(ownToken) {
					if strings.Contains(request, needle) {
						t.Errorf("%s with %q: the upstream got igproxy's own token (%s):\n%s", target, lines, form, request)
					}
				}
			}
		}
	}
	if reached < len(all) {
		t.Errorf("%d calls reached the upstream, want at least %d", reached, len(all))
	}
}
