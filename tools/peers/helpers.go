package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	healthPath = "/healthz"
	callsPath  = "/__calls"
)

// helper runs this program as a server of the given kind: origin, bare or fasthttp. The arguments
// are the address and, for origin, the latency.
func helper(kind string, args []string) error {
	var handler http.Handler
	switch {
	case kind == "origin" && len(args) == 2:
		latency, err := time.ParseDuration(args[1])
		if err != nil {
			return err
		}
		handler = &originHandler{latency: latency}
	case kind == "bare" && len(args) == 1:
		handler = newBareHandler()
	case kind == fasthttpName && len(args) == 1:
		return serveFasthttp(args[0])
	default:
		return errors.New("usage: origin ADDRESS LATENCY, bare ADDRESS, or fasthttp ADDRESS")
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	server := &http.Server{Addr: args[0], Handler: handler}
	go func() {
		<-signals
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// originHandler answers like Instagram with as little work as possible, and counts requests.
type originHandler struct {
	latency time.Duration
	calls   atomic.Int64
}

func (o *originHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case healthPath:
		return
	case callsPath:
		fmt.Fprint(w, o.calls.Load())
		return
	}
	o.calls.Add(1)
	if o.latency > 0 {
		time.Sleep(o.latency)
	}
	query := r.URL.RawQuery
	_, short, _ := strings.Cut(query, "access_token=IGAA")
	h := w.Header()
	h["Content-Type"] = []string{"application/json; charset=UTF-8"}
	h["Cache-Control"] = []string{"private, no-cache, no-store, must-revalidate"}
	h["X-App-Usage"] = []string{`{"call_volume":0,"cpu_time":0}`}
	_, _ = w.Write(answer(longOf(short)))
}

// longOf returns the long-lived token for the short-lived token "IGAA"+short: IGAA, followed by the
// characters of short in reverse order. longOf ignores the first & in short and all that follows.
func longOf(short string) string {
	short, _, _ = strings.Cut(short, "&")
	long := []byte(short)
	for i, j := 0, len(long)-1; i < j; i, j = i+1, j-1 {
		long[i], long[j] = long[j], long[i]
	}
	return "IGAA" + string(long)
}

func answer(long string) []byte {
	return []byte(`{"access_token":"` + long + `","token_type":"bearer","expires_in":5183944}`)
}

// bareHandler does only what a hit needs: a keyed hash of the token, a map lookup, the response
// with igproxy's headers, a counter and a histogram. It ignores all parameters except the token. It
// logs nothing, and its tokens do not expire.
type bareHandler struct {
	pepper []byte
	hits   atomic.Int64
	took   [16]atomic.Int64 // a histogram with buckets by powers of two, in microseconds

	mu    sync.RWMutex // protects known
	known map[[sha256.Size]byte][]byte
}

func newBareHandler() *bareHandler {
	return &bareHandler{pepper: []byte(madeUpSecret), known: map[[sha256.Size]byte][]byte{}}
}

func (b *bareHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	if r.URL.Path == healthPath {
		return
	}
	short := r.URL.Query().Get("access_token")
	mac := hmac.New(sha256.New, b.pepper)
	mac.Write([]byte(short))
	id := [sha256.Size]byte(mac.Sum(nil))
	b.mu.RLock()
	body, known := b.known[id]
	b.mu.RUnlock()
	if !known {
		body = answer(longOf(strings.TrimPrefix(short, "IGAA")))
		b.mu.Lock()
		b.known[id] = body
		b.mu.Unlock()
	}
	h := w.Header()
	h["Cache-Control"] = []string{"no-store"}
	h["Content-Type"] = []string{"application/json; charset=UTF-8"}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	h["X-Request-Id"] = []string{hex.EncodeToString(id[:8])}
	h["Cache-Status"] = []string{"bare; hit; ttl=3599"}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	_, _ = w.Write(body)
	b.hits.Add(1)
	bucket := 0
	for us := time.Since(start).Microseconds(); us > 0 && bucket < len(b.took)-1; us /= 2 {
		bucket++
	}
	b.took[bucket].Add(1)
}
