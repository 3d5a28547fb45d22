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

// askStep is the step "ask": it calls Meta.
//
// It uses a transport and never an http.Client. The errors of a client contain the whole URL with
// the secret, and when a client follows a redirect, it sends the URL as Referer. Only this file
// sends the client secret.
type askStep struct {
	out       *outbound
	timeout   time.Duration // for all tries together, including the bodies
	maxBytes  int64         // the limit for the body of a response, after decompression
	retries   int           // the most retries with each client secret; a call with a code is not retried
	budget    *retryBudget  // limits the retries of all calls together
	userAgent string
	metrics   *Metrics
}

// Exchange asks Meta. It returns Meta's definite answer, which is a token or a refusal. If it gets
// no definite answer, it returns a *graph.Error. This is one of igproxy's own errors, or a
// temporary failure that Meta reported. If the client secret may be the reason for a refusal, and
// the app has a second secret, Exchange asks again with the second one.
func (u *askStep) Exchange(ctx context.Context, c call) (answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, u.timeout, context.DeadlineExceeded)
	defer cancel()
	u.budget.earn()
	if !c.grant.secret {
		return u.askRepeatedly(ctx, c)
	}
	c.secret, _ = c.app.state.secrets.pick(Secret{}) // Meta has not refused a secret in this call yet
	first, err := u.askRepeatedly(ctx, c)
	if !c.grant.appToken || first.refusal == nil { // a refused app token does not show whether its secret is right
		first.with = c.secret
	}
	// An error in the flat shape (see graph.Error) does not say which parameter is wrong, so the
	// client secret may be the reason. If a call of /debug_token inspects an invalid token, Meta
	// says so in a successful response. So a refusal of that call is about the app's own token,
	// which contains the secret.
	//
	// A refused call had no effect. So asking again with the other secret is not a retry, and the
	// settings for retries do not apply.
	suspect := first.is(graph.ClassSecret) || c.grant.flat && first.is(graph.ClassRefused) ||
		c.grant.appToken && first.is(graph.ClassToken)
	if err != nil || !suspect || !c.mayRetry() {
		return first, err
	}
	other, ok := c.app.state.secrets.pick(c.secret)
	if !ok {
		return first, nil
	}
	sent := c.secret
	c.secret = other
	second, err := u.askRepeatedly(ctx, c)
	if err == nil && second.refusal != nil && (c.grant.appToken || !first.is(graph.ClassSecret)) {
		return first, nil // Meta refused both calls, so nothing shows that the secret was the reason
	}
	second.with, second.without = other, sent
	return second, err
}

// try sends the nth request of a call and counts its result.
func (u *askStep) try(ctx context.Context, c call, n int) (answer, *failure) {
	start := time.Now()
	a, f := u.roundTrip(ctx, c, n)
	result := graph.Class("token")
	switch {
	case f != nil:
		result = f.err.Class
	case a.refusal != nil:
		result = a.refusal.Class
	}
	u.metrics.asked(c, result, time.Since(start))
	return a, f
}

func (u *askStep) roundTrip(ctx context.Context, c call, n int) (answer, *failure) {
	r := u.request(ctx, c)
	// A code must not be sent twice. For Facebook's codes, maySendTwice alone would allow that,
	// because they are sent by GET.
	res, err := u.out.send(r, !c.grant.once && maySendTwice(r))
	noteResponse(ctx, res, n)
	if err != nil {
		return answer{}, noAnswer(ctx, err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusSwitchingProtocols { // the body is the raw connection, which no timeout ends
		return answer{}, &failure{err: unexpectedStatus(res)}
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, u.maxBytes+1))
	switch {
	case err != nil:
		return answer{}, cutShort(ctx, err)
	case int64(len(body)) > u.maxBytes && graph.IsRefusal(res.StatusCode):
		body = nil // with a long error page, only the status matters
	case int64(len(body)) > u.maxBytes:
		return answer{}, &failure{err: errBadAnswer("longer than upstream.max_response_bytes")}
	}
	return u.read(c, res, body)
}

// request builds the query or the form from scratch. From the app's request it takes only the
// token, or the code and its redirect_uri.
func (u *askStep) request(ctx context.Context, c call) *http.Request {
	q := url.Values{}
	set := func(name, value string, sent bool) {
		if sent {
			q.Set(name, value)
		}
	}
	set("grant_type", c.grant.grantType, c.grant.grantType != "" && !c.grant.implied)
	set(paramNames[c.grant.param], c.token.Reveal(), c.grant.subject != appSubject)
	set("client_secret", c.secret.Reveal(), c.grant.secret && !c.grant.appToken)
	set("access_token", c.app.appToken(c.secret.Reveal()), c.grant.appToken)
	set("client_id", c.app.ID, c.grant.clientID && !c.grant.appToken)
	set("redirect_uri", c.redirect, c.redirect != "")
	target := *c.grant.base
	target.Path = strings.TrimSuffix(target.Path, "/") + c.grant.path
	r := &http.Request{Method: c.grant.method(), URL: &target, Host: target.Host, Header: http.Header{
		"Accept":     {"application/json"},
		"User-Agent": {u.userAgent},
	}}
	if !c.grant.post {
		target.RawQuery = q.Encode()
		return r.WithContext(ctx)
	}
	form := q.Encode()
	r.Header["Content-Type"] = []string{"application/x-www-form-urlencoded"}
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(form)), int64(len(form))
	return r.WithContext(ctx)
}

// read turns a whole response into a token, a refusal or a failure.
func (u *askStep) read(c call, res *http.Response, body []byte) (answer, *failure) {
	now := time.Now()
	scrub := c.scrubber()
	usage := graph.ReadUsage(res.Header, scrub)
	u.metrics.limits.note(c.app.Label, res.Header)
	if res.StatusCode == http.StatusOK {
		if c.repeatsSecret(string(body)) {
			return answer{}, &failure{err: errBadAnswer("repeats the client secret")}
		}
		token, err := c.grant.read(body, now)
		if err != nil {
			return answer{}, &failure{err: errBadAnswer(err.Error())}
		}
		return answer{token: token, source: sourceUpstream, usage: usage}, nil
	}
	e, ok := graph.ReadError(res.StatusCode, body, scrub)
	serverError := res.StatusCode == http.StatusInternalServerError
	if !ok || res.StatusCode < 400 {
		e := unexpectedStatus(res)
		return answer{}, &failure{err: e, repeatable: serverError && e.RetryAt.IsZero()}
	}
	if e.Class == graph.ClassStanding && !c.grant.hasAccount {
		e.Class = graph.ClassRefused
	}
	e.RetryAt = graph.RetryAt(e.Class, res.Header, now)
	if e.Status >= 500 { // 502 says that the fault is Meta's, not igproxy's
		e.Status = http.StatusBadGateway
	}
	if e.Class.IsDefinite() {
		return answer{refusal: e, source: sourceUpstream, usage: usage}, nil
	}
	e.Cause = "Meta answered with an error"
	repeatable := serverError || e.Code == 1 || e.Code == 2
	// A retry before RetryAt would be too early.
	return answer{}, &failure{err: e, repeatable: repeatable && e.RetryAt.IsZero()}
}

// unexpectedStatus returns the error for a response that is neither a token nor one of Meta's
// errors. Examples are a redirect, which igproxy never follows, and the error page of a failing
// host.
func unexpectedStatus(res *http.Response) *graph.Error {
	e := errBadAnswer(graph.StatusCause(res.StatusCode))
	e.RetryAt = graph.RetryAfter(res.Header, time.Now())
	return e
}
