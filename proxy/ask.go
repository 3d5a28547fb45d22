package proxy

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// askStep is the step "ask": it faces Instagram.
//
// It speaks through a transport and never an http.Client: a client's errors print the whole URL, and a redirect hands it on as
// Referer. The client secret is sent from this file alone.
type askStep struct {
	out       *outbound
	timeout   time.Duration // for all tries together, the body included
	maxBytes  int64         // of an answer, after inflating
	retries   int           // a call, where the grant may be repeated
	budget    *retryBudget  // over all calls
	userAgent string
	metrics   *Metrics
}

// Exchange asks Instagram. An answer is Instagram's definite word, a token or a refusal; an error is a *graph.Error of ours or the
// transient one Instagram sent. Where Instagram refuses the client secret and the app has another, it asks once more with that one.
func (u *askStep) Exchange(ctx context.Context, c call) (answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, u.timeout, context.DeadlineExceeded)
	defer cancel()
	u.budget.earn()
	if !c.grant.secret {
		return u.repeatedly(ctx, c)
	}
	c.secret = c.app.state.secrets.first()
	first, err := u.repeatedly(ctx, c)
	first.with = c.secret
	if err != nil || !first.mayBeSecret(c) || u.held(c) {
		return first, err
	}
	other, ok := c.app.state.secrets.another(c.secret)
	if !ok {
		return first, nil
	}
	c.secret = other
	second, err := u.repeatedly(ctx, c)
	if err == nil && second.refusal != nil && !first.is(graph.ClassSecret) {
		return first, nil // the refusal had another reason
	}
	second.with, second.without = other, first.with
	return second, err
}

// mayBeSecret reports whether the client secret may be what was refused. Such a call had no effect, so it may be repeated whatever is said
// of retries. The code exchange does not say which of its parameters it refuses; what it has refused is not used up.
func (a answer) mayBeSecret(c call) bool {
	return a.is(graph.ClassSecret) || c.grant.form && a.is(graph.ClassRefused)
}

// repeatedly asks with one client secret. It repeats only where no answer came or Instagram said to, where the grant allows it, and within
// the budgets of time and of retries.
func (u *askStep) repeatedly(ctx context.Context, c call) (answer, error) {
	for tries := 1; ; tries++ {
		a, failure := u.try(ctx, c, tries)
		if failure == nil {
			return a, nil
		}
		if tries > u.repetitions(c) || !failure.repeatable || !u.again(ctx, c) {
			return answer{}, failure.err
		}
	}
}

// repetitions are how many a call may have.
func (u *askStep) repetitions(c call) int {
	if !c.grant.repeatable {
		return 0
	}
	return u.retries
}

// failure is one try that brought no answer.
type failure struct {
	err        *graph.Error
	repeatable bool
}

// try sends one request, the call's nth, and reads its answer.
func (u *askStep) try(ctx context.Context, c call, n int) (answer, *failure) {
	start := time.Now()
	a, f := u.roundTrip(ctx, c, n)
	switch {
	case f != nil:
		u.metrics.asked(c, f.err.Class, time.Since(start))
	case a.refusal != nil:
		u.metrics.asked(c, a.refusal.Class, time.Since(start))
	default:
		u.metrics.asked(c, "token", time.Since(start))
	}
	return a, f
}

func (u *askStep) roundTrip(ctx context.Context, c call, n int) (answer, *failure) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	res, err := u.out.RoundTrip(u.request(ctx, c))
	noteReply(ctx, res, n)
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
	case int64(len(body)) > u.maxBytes && graph.IsRefusal(res.StatusCode):
		body = nil // a long page: the status is the answer
	case int64(len(body)) > u.maxBytes:
		return answer{}, &failure{err: errBadAnswer("longer than upstream.max_response_bytes")}
	}
	return u.read(c, res, body)
}

// request builds the query or the form from nothing. Nothing the app sent is in it but the token, or the code and its redirect_uri.
func (u *askStep) request(ctx context.Context, c call) *http.Request {
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
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(form)), int64(len(form))
	return r.WithContext(ctx)
}

// read turns a whole answer into a token, a refusal or a failure.
func (u *askStep) read(c call, res *http.Response, body []byte) (answer, *failure) {
	now := time.Now()
	scrub := c.scrubber()
	usage := graph.ReadUsage(res.Header, scrub)
	u.metrics.limits(c.app.label, res.Header)
	if res.StatusCode == http.StatusOK {
		if c.repeatsSecret(string(body)) {
			return answer{}, &failure{err: errBadAnswer(graph.ErrReflected.Error())}
		}
		token, err := c.grant.read(body, now)
		if err != nil {
			return answer{}, &failure{err: errBadAnswer(err.Error())}
		}
		return answer{token: token, source: sourceUpstream, usage: usage}, nil
	}
	e, ok := graph.ReadError(res.StatusCode, body, scrub)
	if !ok && graph.IsRefusal(res.StatusCode) {
		e, ok = graph.Unreadable(res.StatusCode), true
	}
	if !ok || res.StatusCode < 400 {
		e := strangeStatus(res)
		return answer{}, &failure{err: e, repeatable: res.StatusCode == http.StatusInternalServerError && e.RetryAt.IsZero()}
	}
	e.RetryAt = graph.RetryAt(e.Class, res.Header, now)
	if e.Class.IsDefinite() {
		e.Status = passable(e.Status)
		return answer{refusal: e, source: sourceUpstream, usage: usage}, nil
	}
	e.Status, e.Cause = passable(e.Status), "Instagram says so"
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
func strangeStatus(res *http.Response) *graph.Error {
	e := errBadAnswer(graph.StatusCause(res.StatusCode))
	e.RetryAt = graph.RetryAfter(res.Header, time.Now())
	return e
}
