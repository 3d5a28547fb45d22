package integration

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/mock"
)

// edge is a server in front of the stand-in for Instagram, and can fail in ways that the stand-in
// cannot. It has scripts, which are handlers with names. If the token of a call starts with the
// name of a script and a hyphen, the edge runs the script. It passes all other calls to the
// stand-in. It counts all calls, by token.
type edge struct {
	*mock.Instagram
	URL string

	mu      sync.Mutex // protects the next two fields
	scripts map[string]http.HandlerFunc
	calls   map[string]int
}

func newEdge(t *testing.T, scripts map[string]http.HandlerFunc) *edge {
	t.Helper()
	e := &edge{Instagram: mock.New(mock.Options{Secret: appSecret}), scripts: scripts, calls: map[string]int{}}
	s := httptest.NewServer(e)
	e.URL = s.URL
	t.Cleanup(func() {
		e.Close() // ends hanging handlers
		s.CloseClientConnections()
		s.Close()
	})
	return e
}

func (e *edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token := r.URL.Query().Get("access_token")
	name, _, _ := strings.Cut(token, "-")
	e.mu.Lock()
	e.calls[token]++
	script := e.scripts[name]
	e.mu.Unlock()
	if script == nil {
		e.Instagram.ServeHTTP(w, r)
		return
	}
	script(w, r)
}

// script sets the script of this name. If script is nil, calls reach the stand-in again.
func (e *edge) script(name string, script http.HandlerFunc) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.scripts[name] = script
}

// asked returns the number of calls with this token, or of all calls if token is "".
func (e *edge) asked(token string) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for t, calls := range e.calls {
		if token == "" || t == token {
			n += calls
		}
	}
	return n
}

// says returns a handler that sends this response.
func says(status int, contentType, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// refuses returns a handler that sends a refusal in Instagram's envelope.
func refuses(status, code int, headers ...string) http.HandlerFunc {
	return says(status, "application/json", fmt.Sprintf(`{"error":{"message":"m","type":"OAuthException","code":%d}}`, code), headers...)
}

const goodAnswer = `{"access_token":"IGAAlong","token_type":"bearer","expires_in":5183944}`

// chunkCut closes the connection in the middle of a chunked body.
func chunkCut(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, goodAnswer[:30])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// dripHead sends a byte of a header every 100 ms, and never finishes the header.
func dripHead(w http.ResponseWriter, r *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer conn.Close()
	_, err = io.WriteString(conn, "HTTP/1.1 200 OK\r\nX-Fb-Debug: ")
	for range 1000 { // ends when the client disconnects, or after 100 s
		if err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
		_, err = io.WriteString(conn, "x")
	}
}

// sum returns the sum of those samples of a metric that have all of these labels.
func (p *process) sum(t *testing.T, name string, labels ...string) (sum float64) {
	t.Helper()
	s := bufio.NewScanner(strings.NewReader(p.page(t, "/metrics").body))
samples:
	for s.Scan() {
		sample, value, _ := strings.Cut(s.Text(), " ")
		if metric, _, _ := strings.Cut(sample, "{"); metric != name {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(sample, l) {
				continue samples
			}
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("%s: %v", s.Text(), err)
		}
		sum += n
	}
	return sum
}

// breaker returns the state of the breakers for graph.instagram.com. If their states differ, it
// returns the worst one.
func (p *process) breaker(t *testing.T) string {
	t.Helper()
	for _, state := range []string{"closed", "open", "half-open"} {
		if p.sum(t, "igproxy_breaker_state", `state="`+state+`"`, `upstream="instagram"`) == 1 {
			return state
		}
	}
	t.Fatal("the metrics show no state of the breaker")
	return ""
}
