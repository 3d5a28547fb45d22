package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

func TestAConnectionTooManyGetsWhatMemoryKnowsAndElseAQuick503(t *testing.T) {
	store := newCache(t)
	asked := 0
	remember := &claimStep{cache: store, negativeTTL: time.Minute, next: exchangeFunc(func(context.Context, call) (answer, error) {
		asked++
		return tokenAnswer(t, "long", time.Hour), nil
	})}
	s := &recallStep{cache: store, next: remember}
	if _, err := s.Exchange(t.Context(), callFor(t, "known")); err != nil {
		t.Fatal(err)
	}
	passing := InPassing(t.Context())
	if a, err := s.Exchange(passing, callFor(t, "known")); err != nil || a.source != sourceMemory {
		t.Errorf("a known token: %v from %s", err, a.source)
	}
	_, err := s.Exchange(passing, callFor(t, "unknown"))
	var e *graph.Error
	if !errors.As(err, &e) || e.Status != http.StatusServiceUnavailable || e.Code != 2 || !e.RetryAt.After(time.Now()) || e.Class.IsFailure() {
		t.Errorf("an unknown token: %v", err)
	}
	if asked != 1 {
		t.Errorf("asked %d times, want once", asked)
	}
}

func TestAConnectionTooManyEndsWithItsAnswer(t *testing.T) {
	e := testEngine(t)
	e.first = exchangeFunc(func(context.Context, call) (answer, error) { return tokenAnswer(t, "long", time.Hour), nil })
	p := &Proxy{carried: carried{metrics: NewMetrics(), log: slog.New(slog.DiscardHandler)}}
	p.current.Store(e)
	for _, passing := range []bool{false, true} {
		r, w := get(wireOK), httptest.NewRecorder()
		if passing {
			r = r.WithContext(InPassing(r.Context()))
		}
		r.Host = "localhost"
		p.ServeHTTP(w, r)
		if got := w.Header().Get("Connection"); (got == "close") != passing || !strings.Contains(w.Body.String(), "long") {
			t.Errorf("in passing %v: Connection %q, %s", passing, got, w.Body)
		}
	}
}
