package proxy

import (
	"bufio"
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/igproxy/igproxy/cache"
)

const (
	// inServer is the format of a server span's attributes. The verbs are the status, the outcome
	// and the source.
	inServer = "http.request.method=GET http.response.status_code=%d http.route=/access_token igproxy.app=default igproxy.grant=exchange igproxy.outcome=%s igproxy.source=%s url.scheme=http"
	// ofApp has the attributes that are in the span of every step.
	ofApp = "igproxy.app=default igproxy.grant=exchange"
)

// nested returns the lines (see lineOf) of the spans of the steps from recall to last. The texts
// failure and source are in all lines. The text of the parameter ask is only in the line of the
// step ask.
func nested(last, failure, source, ask string) (lines []string) {
	for _, step := range []string{"recall", "join", "claim", "guard", "ask"} {
		line := step + failure
		if step == "ask" {
			line += ask
		}
		line += " " + ofApp
		if step == "join" {
			line += " igproxy.joined=false"
		}
		if source != "" {
			line += " igproxy.source=" + source
		}
		if step == "ask" {
			line += " server.address=127.0.0.1"
		}
		if lines = append(lines, line); step == last {
			break
		}
	}
	return lines
}

func TestEachStepHasASpanInsideThatOfThePreviousStep(t *testing.T) {
	p, r := tracedProxy(t)
	want := append([]string{"GET /access_token " + fmt.Sprintf(inServer, 200, "token", "upstream")},
		nested("ask", "", "upstream", " http.request.method=GET http.response.status_code=200")...)
	wantTrace(t, "a cold token", traceOf(t, r, p, get("/v23.0"+target("IGAAshort"))), want...)
	parent := servers(r)[0]
	for _, s := range under(r, parent) {
		if s.Parent().SpanID() != parent.SpanContext().SpanID() {
			t.Errorf("the span %s: parent got %s, want %s (%s)", s.Name(), s.Parent().SpanID(), parent.SpanContext().SpanID(), parent.Name())
		}
		if kind := s.SpanKind(); (kind == trace.SpanKindClient) != (s.Name() == "ask") {
			t.Errorf("the span %s has the kind %s, want client only for ask", s.Name(), kind)
		}
		parent = s
	}
	wantTrace(t, "a hit", traceOf(t, r, p, get(target("IGAAshort"))), append([]string{"GET /access_token " + fmt.Sprintf(inServer, 200, "token", "memory")},
		nested("recall", "", "memory", "")...)...)
	wantTrace(t, "a passed-through call", traceOf(t, r, p, get("/me?access_token=IGAAshort")),
		"GET http.request.method=GET http.response.status_code=200 igproxy.app=default igproxy.grant=passthrough igproxy.outcome=passed igproxy.source=upstream url.scheme=http")
}

func TestASpanNamesTheClassOfAFailure(t *testing.T) {
	p, r := tracedProxy(t)
	refused := func(status int, outcome, source, class string) string {
		return "GET /access_token error.type=" + class + " " + fmt.Sprintf(inServer, status, outcome, source)
	}
	failure := func(class string) string { return " Error:" + class + " error.type=" + class }
	wantTrace(t, "not decoded", traceOf(t, r, p, get("/access_token?grant_type=x")),
		strings.NewReplacer("app=default", "app=none", "grant=exchange", "grant=none").Replace(refused(400, "rejected", "none", "request")))
	wantTrace(t, "an unknown method", traceOf(t, r, p, httptest.NewRequest("IGAASECRET", target("IGAA"), nil)),
		strings.NewReplacer("app=default", "app=none", "grant=exchange", "grant=none", "method=GET", "method=_OTHER", "GET /", "HTTP /").Replace(refused(400, "rejected", "none", "request")))
	wantTrace(t, "an expired token", traceOf(t, r, p, get(target("expired-1"))), append([]string{refused(400, "refused", "upstream", "bad_token")},
		nested("ask", failure("bad_token"), "upstream", " http.request.method=GET http.response.status_code=400")...)...)
	wantTrace(t, "Instagram is down", traceOf(t, r, p, get(target("down-1"))),
		append([]string{"GET /access_token Error:transient error.type=transient " + fmt.Sprintf(inServer, 502, "unavailable", "none")},
			nested("ask", failure("transient"), "", " http.request.method=GET http.request.resend_count=1 http.response.status_code=500")...)...)
	wantTrace(t, "no response", traceOf(t, r, p, get(target("close-1"))),
		append([]string{"GET /access_token Error:unreached error.type=unreached " + fmt.Sprintf(inServer, 503, "unavailable", "none")},
			nested("ask", failure("unreached"), "", " http.request.method=GET http.request.resend_count=1")...)...)
	ask(p, get(target("limit4-1")))
	wantTrace(t, "a paused app", traceOf(t, r, p, get(target("IGAAheld"))), append([]string{refused(429, "limited", "hold", "app_limit")},
		nested("guard", failure("app_limit"), "hold", "")...)...)
}

// The value of a panic may contain a secret, so it must not be in a span.
func TestSpansOfAPanicEndAndDoNotContainItsValue(t *testing.T) {
	o := optionsFor(t, "https://127.0.0.1:1", nil)
	r := recording(&o)
	p := newProxy(t, o)
	e := *p.current.Load()
	tr := p.carried.tracer
	e.first = traced(tr, "recall", &recallStep{cache: p.carried.cache, next: traced(tr, "join", newJoin(time.Minute, func(ctx context.Context, c call) (answer, error) {
		return traced(tr, "claim", exchangeFunc(func(context.Context, call) (answer, error) { panic("IGAA-the-value") })).Exchange(ctx, c)
	}))})
	p.current.Store(&e)
	internal := " Error:internal error.type=internal "
	wantTrace(t, "a panic", traceOf(t, r, p, get(target("IGAAshort"))),
		"GET /access_token"+internal+fmt.Sprintf(inServer, 500, "failed", "none"),
		"recall"+internal+ofApp, "join"+internal+ofApp+" igproxy.joined=false", "claim "+ofApp)
	if text := dumped(t, r); strings.Contains(text, "the-value") {
		t.Errorf("the panic's value is in a span: %s", text)
	}
}

func TestOnlyTraceparentIsReadFromTheAppsTraceHeaders(t *testing.T) {
	p, r := tracedProxy(t)
	req := get(target("IGAAshort"))
	req.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	req.Header.Set("Tracestate", "vendor=canary")
	req.Header.Set("Baggage", "user=canary")
	ask(p, req)
	s := servers(r)[0]
	if parent, id := s.Parent(), s.SpanContext().TraceID().String(); parent.SpanID().String() != "b7ad6b7169203331" || id != "0af7651916cd43dd8448eb211c80319c" || !parent.IsRemote() {
		t.Errorf("parent got %s, want b7ad6b7169203331; trace got %s, want 0af7651916cd43dd8448eb211c80319c; remote got %v, want true", parent.SpanID(), id, parent.IsRemote())
	}
	if text := dumped(t, r); strings.Contains(text, "canary") {
		t.Errorf("tracestate or baggage is in a span: %s", text)
	}
	for _, wrong := range []string{"", "x", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"} {
		r.Reset()
		req.Header.Set("Traceparent", wrong)
		ask(p, req)
		if s := servers(r)[0]; s.Parent().IsValid() {
			t.Errorf("the invalid Traceparent %q: got the parent %s, want no parent", wrong, s.Parent().SpanID())
		}
	}
	r.Reset()
	req.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
	ask(p, req)
	if n := len(r.Ended()); n != 0 {
		t.Errorf("a Traceparent without the sampled flag: got %d spans, want 0", n)
	}
}

func TestTraceHeadersAreNotPassedOn(t *testing.T) {
	w := newWorld(t)
	req := get("/me")
	for _, name := range traceHeaders {
		req.Header.Set(name, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	}
	req.Header.Set("X-Of-The-App", "1")
	ask(w.p, req)
	head := w.graph.head[0]
	for _, name := range traceHeaders {
		if head.Get(name) != "" || head.Get("X-Of-The-App") != "1" {
			t.Errorf("Instagram got %v, want X-Of-The-App and no trace headers", head)
		}
	}
}

func TestSpansContainNoSecretsOrSentValues(t *testing.T) {
	p, r := tracedProxy(t)
	send := func(method, path string, body string) {
		req := httptest.NewRequest(method, path, strings.NewReader(body))
		for _, name := range []string{"User-Agent", "Authorization", "Tracestate", "Baggage", "Cookie", "X-Request-Id", "X-Forwarded-For", "Forwarded", "Referer", "X-Canary-Name"} {
			req.Header.Set(name, "canary=header")
		}
		if strings.HasPrefix(body, "grant") {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		ask(p, req)
	}
	for _, fault := range []string{"", "expired-", "reflecterr-", "reflect-", "down-", "html-", "close-", "redirect-", "limit17-", "badjson-"} {
		for range 2 {
			send("GET", target(fault+"canary-token"), "")
		}
	}
	send("GET", "/access_token?canary=1&access_token=canary&client_secret=canary", "")
	send("GET", "/access_token/canary?canary=1", "")
	send("GET", "/apps/canary/access_token?access_token=canary", "")
	send("GET", "/v23.0/canary/media?access_token=canary", "canary-body")
	send("CANARY", "/access_token", "")
	send("POST", "/oauth/access_token", "grant_type=authorization_code&code=canary&redirect_uri=https://canary.example")
	text := dumped(t, r)
	if n, retried, passed := len(servers(r)), strings.Contains(text, "resend_count"), strings.Contains(text, "passthrough"); n != 26 || !retried || !passed {
		t.Errorf("server spans: got %d, want 26; a retry: got %v, want true; a passed-through call: got %v, want true", n, retried, passed)
	}
	for _, hidden := range []string{"canary", testSecret, "IGAA", "Canary", "CANARY"} {
		if i := strings.Index(text, hidden); i >= 0 {
			t.Errorf("%s is in a span: ...%s", hidden, text[max(0, i-200):min(len(text), i+100)])
		}
	}
}

// With a tracer each hit has a span, so net/http must serve it instead of the lane.
func TestWithATracerTheLaneIsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := optionsFor(t, "http://127.0.0.1:1", nil)
		r := recording(&o)
		p := newProxy(t, o)
		e := p.current.Load()
		if e.plain != nil {
			t.Fatal("the lane is on")
		}
		k := e.apps[0].keys["exchange"].Derive(warmToken)
		p.carried.cache.Keep(k, cache.Entry{Value: encodeAnswer(tokenAnswer(t, "IGAA-long", 60*24*time.Hour)), Expires: time.Now().Add(time.Hour)})
		s := newLaneServer(t, p, true)
		c := s.dial(t)
		in := bufio.NewReader(c)
		for range 3 {
			if res, _ := roundTrip(t, c, in, hitRequest); res.StatusCode != 200 {
				t.Fatalf("got %d, want 200", res.StatusCode)
			}
		}
		synctest.Wait()
		if n := len(servers(r)); n != 3 {
			t.Errorf("3 hits had %d server spans, want 3", n)
		}
	})
}

// Without a tracer the steps are not wrapped, and a hit allocates nothing for tracing.
func TestWithoutATracerTracingIsFree(t *testing.T) {
	p := newProxy(t, optionsFor(t, "http://127.0.0.1:1", nil))
	e := p.current.Load()
	recall, ok := e.first.(*recallStep)
	if !ok {
		t.Fatalf("the first step got %T, want *recallStep", e.first)
	}
	join, ok := recall.next.(*joinStep)
	if !ok {
		t.Fatalf("the step after recall got %T, want *joinStep", recall.next)
	}
	claim, ok := join.next.(*claimStep)
	if !ok {
		t.Fatalf("the step after join got %T, want *claimStep", join.next)
	}
	guard, ok := claim.next.(*guardStep)
	if !ok {
		t.Fatalf("the step after claim got %T, want *guardStep", claim.next)
	}
	if _, ok := guard.next.(*askStep); !ok {
		t.Fatalf("the step after guard got %T, want *askStep", guard.next)
	}
	if p.carried.tracer != nil || e.plain == nil {
		t.Errorf("tracer: got %v, want nil; lane on: got %v, want true", p.carried.tracer, e.plain != nil)
	}
	x, r := requestState{status: 200}, get("/me")
	if n := testing.AllocsPerRun(100, func() {
		server, _ := beginTrace(p.carried.tracer, e, r)
		x.endTrace(server)
	}); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}
