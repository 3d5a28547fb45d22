package keep_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/proxy/keep"
)

// reporting is a Keeper that runs until the test ends, with a token and a log.
type reporting struct {
	*running
	shelf *shelf
	log   *bytes.Buffer
	token keep.Token
}

// startReporting starts a Keeper. The function refresh returns Meta's answers.
func startReporting(t *testing.T, refresh func(*reporting) keep.Result) *reporting {
	t.Helper()
	r := &reporting{shelf: newShelf(), log: &bytes.Buffer{}}
	c, ended := &counts{}, make(chan struct{})
	k := keep.New(keep.Options{Store: r.shelf.view(), MaxInFlight: 4, Observer: c, Logger: slog.New(slog.NewJSONHandler(r.log, nil))})
	k.Set(settings)
	ctx, stop := context.WithCancel(context.Background())
	go func() { // ends when stop is called
		defer close(ended)
		k.Run(ctx)
	}()
	r.running = &running{k, c, stop}
	r.token = keep.Token{App: "shop", Key: keyOf(t, "token"), Reveal: func() string { return "token" },
		Refresh: func(context.Context, string) keep.Result { return refresh(r) }}
	t.Cleanup(func() {
		stop()
		<-ended
		_ = k.Wait(context.Background())
	})
	return r
}

// use makes a call with the token, and waits for its refresh.
func (r *reporting) use() {
	r.Used(r.Find(context.Background(), r.token))
	synctest.Wait()
}

// line returns the only line of the log.
func (r *reporting) line(t *testing.T) (line map[string]any) {
	t.Helper()
	if err := json.Unmarshal(r.log.Bytes(), &line); err != nil {
		t.Fatalf("the log is not one JSON object: %v in %q", err, r.log)
	}
	delete(line, "time")
	return line
}

func (r *reporting) expect(t *testing.T, want map[string]any) {
	t.Helper()
	got := r.line(t)
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %v, want %v", name, got[name], value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func textOf(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// The status and the metric must count the same refreshes.
func TestARefreshThatCannotBeReservedCountsAsFailedInTheStatusToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startReporting(t, func(*reporting) keep.Result { return keep.Result{} })
		r.Issued(r.token.Key, time.Now().Add(5*day))
		kept := r.Find(t.Context(), r.token)
		r.shelf.setDown(true)
		r.Used(kept)
		synctest.Wait()
		if counted, got := r.refreshes()[keep.Failed], r.Status("shop").Failed; counted != 1 || got != 1 {
			t.Errorf("the metric has %d failed refreshes, and the status has %d; want 1 in both", counted, got)
		}
	})
}

func TestTheLogDoesNotInventTheEndOfAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startReporting(t, func(*reporting) keep.Result { return keep.Result{Cause: "timeout"} })
		now := time.Now()
		r.use()
		r.expect(t, map[string]any{"level": "WARN", "msg": "token not refreshed", "app": "shop", "outcome": "failed", "cause": "timeout",
			"ends": "unknown", "next_try": textOf(now.Add(15 * time.Minute))})
	})
}

// Outcomes are label values, so every refresh needs an outcome that docs/metrics.md lists.
func TestARefreshDuringWhichTheTokenIsIssuedAgainHasAnOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := true
		r := startReporting(t, func(r *reporting) keep.Result {
			if first {
				first = false
				return keep.Result{Token: "successor", Expires: time.Now().Add(5 * day)}
			}
			r.Issued(r.token.Key, time.Now().Add(60*day))
			return keep.Result{Token: "another successor", Expires: time.Now().Add(60 * day)}
		})
		r.Issued(r.token.Key, time.Now().Add(4*day))
		r.use()
		<-time.After(day)
		r.use()
		if got := r.refreshes(); len(got) != 2 || got[keep.Refreshed] != 1 || got[keep.Unchanged] != 1 {
			t.Errorf("outcomes: got %v, want one refreshed and one unchanged", got)
		}
	})
}
