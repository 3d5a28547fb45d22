package cache

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/igproxy/igproxy/breaker"
)

// redisTier is the second tier, which all processes of a fleet share. Redis is not trusted: values
// are sealed, and a value that Redis returns is used only if the key derived from the token
// decrypts it.
type redisTier struct {
	client   atomic.Pointer[client]
	options  RedisOptions
	breaker  *breaker.Breaker
	observer Observer
	log      *slog.Logger
	said     sync.Map     // the kinds of faults that have been logged
	noScript atomic.Int64 // scripts are not used until this time, in Unix nanoseconds

	mu       sync.Mutex     // protects the fields below
	since    time.Time      // when Redis became degraded; zero if it is not
	fault    time.Time      // when the breaker last counted a fault
	kind     string         // the kind of that fault
	step     string         // the next step for an operator after that fault
	closed   chan struct{}  // closed by close
	retiring sync.WaitGroup // replaced clients that are not closed yet; no new ones after close
}

var _ shared = (*redisTier)(nil)

const (
	// faultsToOpen is how many faults in a row open the breaker.
	faultsToOpen = 3

	// leaveAlone is how long a failed Redis is left alone. After that, the next read of the purges,
	// at most a second later, tries Redis again. No token call waits for that read.
	leaveAlone = 250 * time.Millisecond

	// withoutScripts is how long scripts are avoided after Redis has denied one. Then they are
	// tried again, because permissions may have changed, or another node may have taken over.
	withoutScripts = time.Minute
)

func newRedisTier(o RedisOptions, observer Observer, log *slog.Logger) (*redisTier, error) {
	o = o.withDefaults()
	client, err := newClient(o)
	if err != nil {
		return nil, err
	}
	t := &redisTier{options: o, observer: observer, log: log, closed: make(chan struct{})}
	t.client.Store(client)
	t.breaker, err = breaker.New(breaker.Options{Failures: faultsToOpen, Ratio: 1, MinRequests: faultsToOpen,
		Interval: time.Minute, Open: leaveAlone, Probes: 1, OnChange: t.changed})
	if err != nil {
		return nil, err
	}
	observer.RedisState(true)
	return t, nil
}

// question is one operation on Redis. It may run twice.
type question func(context.Context, *client) error

// do runs an operation, or fails at once if the breaker is not closed. Unlike probe, it never tries
// a failed Redis.
func (t *redisTier) do(ctx context.Context, operation string, budget time.Duration, ask question) error {
	if t.breaker.State() != breaker.Closed {
		return t.report(operation, kindOpen, t.options.advice(kindOpen, nil))
	}
	_, err := t.guarded(ctx, operation, budget, ask)
	return err
}

// probe runs an operation that no token call waits for. Unlike do, it also tries a failed Redis,
// once leaveAlone has passed. If a client that has worked before gets no reply, its other
// connections are probably dead too. So probe replaces all of them and, if the breaker is still
// closed, runs the operation again.
func (t *redisTier) probe(ctx context.Context, operation string, budget time.Duration, ask question) error {
	client := t.client.Load()
	kind, err := t.guarded(ctx, operation, budget, ask)
	if (kind == kindTimeout || kind == kindBroken) && client.worked.Load() && t.replace(client) {
		_, err = t.guarded(ctx, operation, budget, ask)
	}
	// In a cluster, the slot of the purges may be on another node by now, so the library has to
	// read the map of the slots again. guarded starts that reading after a fault, but not if the
	// breaker refuses the operation.
	if cluster, ok := t.client.Load().UniversalClient.(*redis.ClusterClient); ok && err != nil {
		cluster.ReloadState(ctx)
	}
	return err
}

// guarded runs an operation through the breaker, within its budget of time. It returns the kind of
// the fault, or "". Canceling ctx does not end the operation, because the only way to interrupt a
// read is to give up its connection.
func (t *redisTier) guarded(ctx context.Context, operation string, budget time.Duration, ask question) (kind string, err error) {
	client, step := t.client.Load(), ""
	refused := t.breaker.Do(func() breaker.Verdict {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), budget)
		defer cancel()
		began := time.Now()
		err := ask.recovering(ctx, client)
		if kindOf(err) == kindNoScript {
			t.denied(operation)
			err = ask.recovering(ctx, client) // without scripts
		}
		kind = kindOf(err)
		step = t.options.advice(kind, err)
		return t.verdict(kind, step, began, client)
	})
	switch {
	case refused != nil:
		kind, step = kindOpen, t.options.advice(kindOpen, nil)
	case kind == "":
		client.worked.Store(true)
		return "", nil
	case kind == kindDesync:
		t.replace(client)
	default:
		client.failed(ctx)
	}
	return kind, t.report(operation, kind, step)
}

// recovering runs the operation, and returns errDesync if it panics, because the library panics on
// some replies of an unexpected form.
func (ask question) recovering(ctx context.Context, c *client) (err error) {
	defer func() {
		if recover() != nil {
			err = errDesync
		}
	}()
	return ask(ctx, c)
}

// report counts a fault and returns it. If an operator has to act, report also logs the first fault
// of each kind, with the next step.
func (t *redisTier) report(operation, kind, step string) error {
	t.observer.RedisError(operation, kind)
	if needsOperator(kind) && t.firstTime(kind) {
		t.log.Error("redis cannot be used", "operation", operation, "kind", kind, "next_step", step)
	}
	return &fault{operation, kind, step}
}

// verdict decides how an operation counts. It ignores harmless faults. It ignores the fault of an
// operation that began before the last counted fault, because the two faults probably have the same
// cause: the claims of a burst all wait for connections until they time out, or several connections
// break together. It also ignores a fault of a replaced client, which says nothing about the new
// client.
func (t *redisTier) verdict(kind, step string, began time.Time, client *client) breaker.Verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case kind == "":
		return breaker.Success
	case harmless(kind), began.Before(t.fault), t.client.Load() != client:
		return breaker.Ignored
	}
	t.fault, t.kind, t.step = time.Now(), kind, step
	return breaker.Failure
}

// changed records a change of the breaker. It logs one line when an outage begins and one when it
// ends.
func (t *redisTier) changed(c breaker.Change) {
	t.mu.Lock()
	kind, step := t.kind, t.step
	if t.since = c.Since; c.To == breaker.Closed {
		t.since = time.Time{}
	}
	t.mu.Unlock()
	switch {
	case c.From == breaker.Closed:
		t.observer.RedisState(false)
		t.log.Warn("redis degraded", "kind", kind, "next_step", step)
	case c.To == breaker.Closed:
		t.observer.RedisState(true)
		t.log.Info("redis back", "after_ms", time.Since(c.Since).Milliseconds())
	}
}

func (t *redisTier) health() Health {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.since.IsZero() {
		return Health{State: "ok"}
	}
	return Health{State: "degraded", Kind: t.kind, Since: t.since}
}

// scripted reports whether scripts are used. Only leases need them.
func (t *redisTier) scripted() bool {
	return t.options.Lease > 0 && time.Now().UnixNano() >= t.noScript.Load()
}

// denied records that Redis denies scripts. Until scripts are tried again, processes still share
// values but do not wait for each other, as with coalesce.enabled: false.
func (t *redisTier) denied(operation string) {
	t.noScript.Store(time.Now().Add(withoutScripts).UnixNano())
	if t.firstTime(kindNoScript) {
		t.log.Warn("redis denies scripts", "operation", operation, "effect", "sidecars do not wait for each other", "next_step", t.options.advice(kindNoScript, nil))
	}
}

func (t *redisTier) firstTime(kind string) bool {
	_, again := t.said.LoadOrStore(kind, true)
	return !again
}

func (t *redisTier) close() {
	t.mu.Lock()
	close(t.closed)
	t.mu.Unlock()
	t.client.Load().close()
	t.retiring.Wait()
}

// fault is the error of an operation. It has no text from the library, because that text can
// contain stored bytes.
type fault struct{ operation, kind, step string }

// Error returns the operation, the kind and the next step. It leaves out kindOpen, which is a state
// of igproxy and means nothing to an operator.
func (f *fault) Error() string {
	if f.kind == kindOpen {
		return fmt.Sprintf("redis %s: %s", f.operation, f.step)
	}
	return fmt.Sprintf("redis %s: %s: %s", f.operation, f.kind, f.step)
}
