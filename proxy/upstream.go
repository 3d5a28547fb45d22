package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// upstream is the step "ask": it faces Instagram.
//
// It speaks through a transport and never an http.Client: a client's errors print the whole URL, and a redirect hands it on as
// Referer. The client secret is sent from this file alone.
type upstream struct {
	transport *http.Transport
	retired   atomic.Bool                // connections are of no more use once their call has ended
	timeout   time.Duration              // for all tries together, the body included
	maxBytes  int64                      // of an answer, after inflating
	retries   int                        // a call, where the grant may be repeated
	budget    *retryBudget               // over all calls
	left      func(upstream string) bool // whether it is left alone: its breaker is open
	userAgent string
	metrics   *Metrics
}

// errRepeated cancels a call that the transport would repeat by itself beyond the retries allowed.
var errRepeated = errors.New("the transport repeated the request too often")

// Exchange asks Instagram. An answer is Instagram's definite word, a token or a refusal; an error is a *GraphError of ours or the
// transient one Instagram sent. Where Instagram refuses the client secret and the app has another, it asks once more with that one.
func (u *upstream) Exchange(ctx context.Context, c call) (answer, error) {
	defer u.sweep()
	ctx, cancel := context.WithTimeoutCause(ctx, u.timeout, context.DeadlineExceeded)
	defer cancel()
	u.budget.earn()
	if !c.grant.secret {
		return u.repeatedly(ctx, c)
	}
	c.secret = c.app.hold.secret()
	first, err := u.repeatedly(ctx, c)
	first.with = c.secret
	if err != nil || !first.mayBeSecret(c) || u.held(c) {
		return first, err
	}
	other, ok := c.app.hold.another(c.secret)
	if !ok {
		return first, nil
	}
	c.secret = other
	second, err := u.repeatedly(ctx, c)
	if err == nil && second.refusal != nil && !first.is(classSecret) {
		return first, nil // the refusal had another reason
	}
	second.with, second.without = other, first.with
	return second, err
}

// mayBeSecret reports whether the client secret may be what was refused. Such a call had no effect, so it may be repeated whatever is said
// of retries. The code exchange does not say which of its parameters it refuses; what it has refused is not used up.
func (a answer) mayBeSecret(c call) bool {
	return a.is(classSecret) || c.grant.form && a.is(classRefused)
}

// repeatedly asks with one client secret. It repeats only where no answer came or Instagram said to, where the grant allows it, and within
// the budgets of time and of retries.
func (u *upstream) repeatedly(ctx context.Context, c call) (answer, error) {
	sent := 0 // requests on the wire, the transport's own repetitions included
	for {
		a, failure := u.try(ctx, c, &sent)
		if failure == nil {
			return a, nil
		}
		if sent > u.repetitions(c) || !failure.repeatable || !u.again(ctx, c) {
			return answer{}, failure.err
		}
	}
}

// retire closes idle connections now, and those of calls under way as each call ends.
func (u *upstream) retire() {
	u.retired.Store(true)
	u.transport.CloseIdleConnections()
}

// sweep follows every call: its connection was idle before retired is read, so that either retire or sweep finds it.
func (u *upstream) sweep() {
	if u.retired.Load() {
		u.transport.CloseIdleConnections()
	}
}

// repetitions are how many a call may have.
func (u *upstream) repetitions(c call) int {
	if !c.grant.repeatable {
		return 0
	}
	return u.retries
}

// failure is one try that brought no answer.
type failure struct {
	err        *GraphError
	repeatable bool
}

// try sends one request and reads its answer.
func (u *upstream) try(ctx context.Context, c call, sent *int) (answer, *failure) {
	start := time.Now()
	a, f := u.roundTrip(ctx, c, sent)
	switch {
	case f != nil:
		u.metrics.asked(c, f.err.class, time.Since(start))
	case a.refusal != nil:
		u.metrics.asked(c, a.refusal.class, time.Since(start))
	default:
		u.metrics.asked(c, "token", time.Since(start))
	}
	return a, f
}

func (u *upstream) roundTrip(ctx context.Context, c call, sent *int) (answer, *failure) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	res, err := u.transport.RoundTrip(u.request(u.counted(ctx, c, sent, cancel), c))
	walkOf(ctx).heard(res, *sent)
	if err != nil {
		return answer{}, noAnswer(ctx, err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusSwitchingProtocols { // its body is the bare connection, which no time-out ends
		return answer{}, &failure{err: strangeStatus(res)}
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, u.maxBytes+1))
	switch {
	case err != nil:
		return answer{}, cutShort(ctx, err)
	case int64(len(body)) > u.maxBytes && refusesAlone(res.StatusCode):
		body = nil // a long page: the status is the answer
	case int64(len(body)) > u.maxBytes:
		return answer{}, &failure{err: errBadAnswer("longer than upstream.max_response_bytes")}
	}
	return u.read(c, res, body)
}

// counted makes *sent count connections used, not calls of RoundTrip: the transport repeats a GET by itself when a kept connection
// turns out to be dead, and that repetition is our one retry, not an extra. It is paid for out of the same budget.
func (u *upstream) counted(ctx context.Context, c call, sent *int, cancel context.CancelCauseFunc) context.Context {
	*sent++
	first := true
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		if first {
			first = false
			return
		}
		if !c.grant.repeatable { // the transport repeats a POST only where nothing of it was written
			return
		}
		if *sent++; *sent > u.repetitions(c)+1 || !u.atOnce(c) {
			cancel(errRepeated)
			if !sharedConn(got.Conn) {
				_ = got.Conn.Close() // HTTP/1 writes the request while it notices that it is cancelled
			}
		}
	}})
}

// sharedConn reports whether other calls use the connection too, as those of HTTP/2 do. HTTP/2 looks at the context before it writes.
func sharedConn(c net.Conn) bool {
	over, ok := c.(*tls.Conn)
	return ok && over.ConnectionState().NegotiatedProtocol == "h2"
}

// request builds the query or the form from nothing. Nothing the app sent is in it but the token, or the code and its redirect_uri.
func (u *upstream) request(ctx context.Context, c call) *http.Request {
	q := url.Values{"grant_type": {c.grant.grantType}, paramNames[c.grant.subject.param]: {c.token.Reveal()}}
	if c.grant.secret {
		q.Set("client_secret", c.secret.Reveal())
	}
	target := *c.grant.base
	target.Path = strings.TrimSuffix(target.Path, "/") + c.grant.path
	r := &http.Request{Method: c.grant.method, URL: &target, Host: target.Host, Header: http.Header{
		"Accept":     {"application/json"},
		"User-Agent": {u.userAgent},
	}}
	if !c.grant.form {
		target.RawQuery = q.Encode()
		return r.WithContext(ctx)
	}
	q.Set("client_id", c.app.ID)
	q.Set("redirect_uri", c.redirect)
	form := q.Encode()
	r.Header["Content-Type"] = []string{"application/x-www-form-urlencoded"}
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(form)), int64(len(form)) // without GetBody: the transport can't send it twice
	return r.WithContext(ctx)
}

// read turns a whole answer into a token, a refusal or a failure.
func (u *upstream) read(c call, res *http.Response, body []byte) (answer, *failure) {
	now := time.Now()
	scrub := c.scrubber()
	usage := readUsage(res.Header, scrub)
	u.metrics.limits(c.app.label, res.Header)
	if res.StatusCode == http.StatusOK {
		if c.repeatsSecret(string(body)) {
			return answer{}, &failure{err: errBadAnswer(errReflected.Error())}
		}
		token, err := c.grant.read(body, now)
		if err != nil {
			return answer{}, &failure{err: errBadAnswer(err.Error())}
		}
		return answer{token: token, source: sourceUpstream, usage: usage}, nil
	}
	e, ok := decodeGraphError(res.StatusCode, body, scrub)
	if !ok && refusesAlone(res.StatusCode) {
		e, ok = errUnreadable(res.StatusCode), true
	}
	if !ok || res.StatusCode < 400 {
		e := strangeStatus(res)
		return answer{}, &failure{err: e, repeatable: res.StatusCode == http.StatusInternalServerError && e.RetryAt.IsZero()}
	}
	e.RetryAt = retryAt(e.class, res.Header, now)
	if e.class.definite() {
		e.Status = passable(e.Status)
		return answer{refusal: e, source: sourceUpstream, usage: usage}, nil
	}
	e.Status, e.cause = passable(e.Status), "Instagram says so"
	again := res.StatusCode == http.StatusInternalServerError || e.Code == 1 || e.Code == 2
	return answer{}, &failure{err: e, repeatable: again && e.RetryAt.IsZero()} // with Retry-After Instagram says when
}

// passable keeps a 4xx as it came. A 5xx reaches the app as 502, with Instagram's envelope in it: the fault is behind igproxy, not in it.
func passable(status int) int {
	if status >= 500 {
		return http.StatusBadGateway
	}
	return status
}

// strangeStatus is the error for an answer that is neither a token nor a refusal: a redirect, which is never followed, or a page of a
// host in trouble.
func strangeStatus(res *http.Response) *GraphError {
	e := errBadAnswer(statusCause(res.StatusCode))
	e.RetryAt = retryAfter(res.Header, time.Now())
	return e
}

// statusCause names an answer without an error that igproxy can read.
func statusCause(status int) string {
	if http.StatusText(status) == "" {
		return "a status that HTTP does not know, without a Graph error"
	}
	return "status " + http.StatusText(status) + " without a Graph error"
}
