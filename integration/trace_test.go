package integration

// Tracing is configured with OpenTelemetry's standard variables. A collector gets a span for each
// request and for each of its steps. If the app sends a trace context, the spans belong to the
// app's trace. Spans contain no secrets, no tokens and nothing else that an app sent. If the
// collector is dead, hangs or refuses spans, apps still get their answers, and a stop is delayed by
// at most a few seconds.

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/mock"
)

// otlpSpan has the fields of a span that these tests use:
// https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding.
type otlpSpan struct {
	TraceID, SpanID, ParentSpanID, Name string
	Kind                                int
	Attributes                          []struct {
		Key   string
		Value struct{ StringValue, IntValue string }
	}
}

const serverKind = 2

// otlpBatch has the fields of OTLP's ExportTraceServiceRequest that these tests use.
type otlpBatch struct {
	ResourceSpans []struct{ ScopeSpans []struct{ Spans []*otlpSpan } }
}

// collector receives spans over OTLP/HTTP, as JSON.
type collector struct {
	*httptest.Server
	mu     sync.Mutex // protects the fields below
	spans  []*otlpSpan
	text   strings.Builder // everything received
	header http.Header     // the header of the last batch
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var batch otlpBatch
		if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/json" || json.Unmarshal(body, &batch) != nil {
			t.Errorf("the collector got a request on %s that is not a batch of spans: %v", r.URL.Path, err)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.header = r.Header
		c.text.Write(append(body, '\n'))
		for _, resource := range batch.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// named returns the spans with this name.
func (c *collector) named(name string) (found []*otlpSpan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

// tracing starts a sidecar with these OpenTelemetry variables, which are given without the prefix
// OTEL_ ("TRACES_EXPORTER=otlp").
func tracing(t *testing.T, upstream string, settings, variables []string) *process {
	t.Helper()
	env := append(environ(append(slices.Clone(settings), "UPSTREAM_URL="+upstream)...), "OTEL_EXPORTER_OTLP_PROTOCOL=http/json")
	for _, v := range variables {
		env = append(env, "OTEL_"+v)
	}
	p := start(t, env, "serve")
	p.Listening(t)
	return p
}

func attributes(s *otlpSpan) map[string]string {
	all := map[string]string{}
	for _, kv := range s.Attributes {
		all[kv.Key] = kv.Value.StringValue + kv.Value.IntValue
	}
	return all
}

func TestCollectorGetsEachStepInTheAppsTrace(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	c := newCollector(t)
	p := tracing(t, upstream.URL, nil, []string{"EXPORTER_OTLP_ENDPOINT=" + c.URL, "RESOURCE_ATTRIBUTES=deployment.environment.name=test", "EXPORTER_OTLP_COMPRESSION=none"})
	r, err := fetchWith(t.Context(), http.DefaultClient, p.URL+exchangePath("IGAA-1"), "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Tracestate", "a=b")
	must(t, err)
	for range 3 { // hits; tracing must disable the fast lane, which makes no spans
		if r := p.ask(t, "IGAA-1"); r.status != 200 {
			t.Errorf("got %d, want 200", r.status)
		}
	}
	if code := p.Stop(t); code != 0 || r.status != 200 || ig.CallsFor("IGAA-1") != 1 {
		t.Errorf("exit code %d, want 0; the first request got %d, want 200; Instagram was called %d times, want once", code, r.status, ig.CallsFor("IGAA-1"))
	}
	servers := c.named("GET /access_token")
	if len(servers) != 4 {
		t.Fatalf("%d server spans for 4 requests, want 4", len(servers))
	}
	first := servers[slices.IndexFunc(servers, func(s *otlpSpan) bool { return s.ParentSpanID != "" })]
	// OpenTelemetry's library writes IDs in upper case.
	if got, want := strings.ToLower(first.TraceID+"-"+first.ParentSpanID), "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"; got != want {
		t.Errorf("the trace and the parent of the first span: got %s, want the app's, %s", got, want)
	}
	if a := attributes(first); a["igproxy.request_id"] != r.header.Get("X-Request-Id") || a["igproxy.outcome"] != "token" || a["http.route"] != "/access_token" {
		t.Errorf("the span has the attributes %v, want the request ID, the outcome token and the route", a)
	}
	for _, step := range []string{"recall", "join", "claim", "guard", "ask"} {
		i := slices.IndexFunc(c.named(step), func(s *otlpSpan) bool { return s.TraceID == first.TraceID })
		if i < 0 {
			t.Errorf("no span of %s in the first request's trace", step)
		}
	}
	for _, want := range []string{`"igproxy"`, `"deployment.environment.name"`} {
		if !strings.Contains(c.text.String(), want) {
			t.Errorf("the resource has no %s", want)
		}
	}
}

func TestSpansAndLogsContainNoSecretAndNothingThatAnAppSent(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	c := newCollector(t)
	all := []hidden{{"the client secret", appSecret, 0}}
	hide := func(name string) string {
		text := rand.Text()
		all = append(all, hidden{name, text, 0})
		return text
	}
	credential, sent := hide("the collector's credential"), hide("what an app sent")
	all = append(all, hidden{"the Facebook app's secret", pagesSecret, 0})
	p := tracing(t, upstream.URL, []string{"FACEBOOK_URL=" + upstream.URL, "FACEBOOK_APP_ID=" + pagesID, "FACEBOOK_CLIENT_SECRET=" + pagesSecret,
		"DEBUG_TOKEN_ENABLED=true", "PASSTHROUGH_APPSECRET_PROOF=true"}, []string{"EXPORTER_OTLP_ENDPOINT=" + c.URL, "EXPORTER_OTLP_HEADERS=api-key=" + credential})
	var answers []string
	sendBody := func(method, path, kind, body string) {
		req, err := http.NewRequestWithContext(t.Context(), method, p.URL+path, strings.NewReader(body))
		must(t, err)
		if body != "" {
			req.Header.Set("Content-Type", kind)
		}
		for _, name := range []string{"User-Agent", "Authorization", "Tracestate", "Baggage", "Cookie", "X-Forwarded-For", "Referer"} {
			req.Header.Set(name, "x="+sent)
		}
		res, err := http.DefaultTransport.RoundTrip(req) // follows no redirect
		must(t, err)
		answer, err := io.ReadAll(res.Body)
		must(t, err)
		_ = res.Body.Close()
		answers = append(answers, string(answer))
	}
	send := func(method, path string) { sendBody(method, path, "", "") }
	requests := 0
	for _, fault := range []string{"IGAA", "expired-", "reflecterr-", "reflect-", "down-", "html-", "reset-", "redirect-", "badjson-", "standing-", "limit17-"} {
		token := fault + rand.Text()
		all = append(all, hidden{"a short-lived token", token, len(fault)})
		for range 2 {
			send("GET", exchangePath(token)+"&client_secret="+sent)
			requests++
		}
		all = append(all, hidden{"a proof", mock.Proof(pagesSecret, token), 0}, hidden{"a proof", mock.Proof(appSecret, token), 0})
		sendBody("POST", "/oauth/access_token", "application/json", fmt.Sprintf(`{"grant_type":"fb_exchange_token","fb_exchange_token":%q,"client_secret":%q}`, token, sent))
		send("GET", "/apps/facebook/debug_token?access_token=APP&input_token="+token)
		send("GET", "/apps/facebook/me?access_token="+token)
		sendBody("POST", "/apps/facebook/me/feed", "application/x-www-form-urlencoded", "access_token="+token)
		requests += 4
	}
	for _, path := range []string{"/access_token?" + sent, "/access_token/" + sent, "/apps/" + sent + "/access_token", "/v23.0/" + sent + "?access_token=" + sent, "/?" + sent} {
		send("GET", path)
		send(sent, path)
		requests += 2
	}
	send("GET", "/apps/facebook/oauth/access_token?grant_type=client_credentials")
	requests++
	for _, body := range answers {
		if long := (response{body: body}).token(); strings.HasPrefix(long, pagesID) {
			all = append(all, hidden{"an app token", long, len(pagesID + "|")})
		} else if long != "" {
			all = append(all, hidden{"a long-lived token", long, len("IGAA")})
		}
	}
	log := p.settled(t)
	requests++
	if code := p.Stop(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	servers := 0
	for _, s := range c.spans {
		if s.Kind == serverKind {
			servers++
		}
	}
	if servers != requests || len(all) < 15 || c.header.Get("Api-Key") != credential {
		t.Errorf("%d server spans for %d requests, want one for each; %d secrets, want at least 15; the collector got the header %v, want Api-Key in it", servers, requests, len(all), c.header)
	}
	s := newSearch(all)
	for place, text := range map[string]string{"the spans": c.text.String(), "the log": log.String()} {
		for _, found := range s.in(text) {
			t.Errorf("%s: %s", place, found)
		}
		for _, h := range all[:3] {
			if unseen := s.plant(text, h); len(unseen) > 0 {
				t.Errorf("%s: the search would not find %s in these forms: %v", place, h.name, unseen)
			}
		}
	}
	_, shown, errs := command(t, append(environ(), "OTEL_EXPORTER_OTLP_ENDPOINT="+c.URL, "OTEL_EXPORTER_OTLP_HEADERS=api-key="+credential), "check")
	if found := s.in(shown + errs); len(found) > 0 || !strings.Contains(shown, "traces on, to "+strings.TrimPrefix(c.URL, "http://")+"\n") {
		t.Errorf("check: secrets in the output: got %v, want none; want the collector's address %s in the output:\n%s%s", found, c.URL, shown, errs)
	}
}

func TestDeadCollectorCostsNoAnswerAndDelaysAStopOnlyBriefly(t *testing.T) {
	t.Parallel()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	refused := gone.Addr().String()
	must(t, gone.Close())
	hung, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts connections, but no process reads from them
	must(t, err)
	defer hung.Close()
	unwilling := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer unwilling.Close()
	for name, at := range map[string]string{"refused": "http://" + refused, "hung": "http://" + hung.Addr().String(), "unwilling": unwilling.URL} {
		_, upstream := instagram(t, mock.ServerOptions{})
		p := tracing(t, upstream.URL, []string{"LOG_LINES=1"}, []string{"EXPORTER_OTLP_ENDPOINT=" + at, "BSP_MAX_QUEUE_SIZE=64", "BSP_SCHEDULE_DELAY=20"})
		for i := range 100 { // 280 spans, more than the queue holds
			if r := p.ask(t, fmt.Sprintf("IGAA-%d", i/5)); r.status != 200 {
				t.Errorf("%s: got %d %s, want 200", name, r.status, r.body)
			}
		}
		begun := time.Now()
		if code := p.Stop(t); code != 0 {
			t.Errorf("%s: exit code %d, want 0", name, code)
		}
		if took := time.Since(begun); took > 15*time.Second {
			t.Errorf("%s: the stop took %s, want at most 15s", name, took)
		}
		if lines := p.Log.Lines("spans not delivered"); len(lines) > 1 || name != "hung" && len(lines) == 0 {
			t.Errorf("%s: \"spans not delivered\" was logged %d times, want once, or at most once if the collector hangs", name, len(lines))
		}
	}
}

// Platforms may set these variables for all programs at once, so a value that igproxy does not
// support must not prevent its start.
func TestUnsupportedTracingVariablesDoNotPreventStart(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	for _, variables := range [][]string{
		{"EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317", "EXPORTER_OTLP_PROTOCOL=grpc"},
		{"EXPORTER_OTLP_ENDPOINT=collector:4317"},
		{"TRACES_EXPORTER=zipkin"},
		{"EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318", "BSP_MAX_QUEUE_SIZE=-1"},
		{"EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318", "EXPORTER_OTLP_CERTIFICATE=/nowhere", "EXPORTER_OTLP_HEADERS=x"},
	} {
		p := tracing(t, upstream.URL, nil, variables)
		if r := p.ask(t, "IGAA-1"); r.status != 200 {
			t.Errorf("%v: got %d, want 200", variables, r.status)
		}
		if len(p.Log.Lines("tracing")) == 0 {
			t.Errorf("%v: the log has no warning about tracing", variables)
		}
		if code := p.Stop(t); code != 0 {
			t.Errorf("%v: exit code %d, want 0", variables, code)
		}
	}
}

// Here, a platform sets several unsupported variables at once.
func TestSeveralUnsupportedTracingVariablesDoNotPreventStart(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	env := append(environ("UPSTREAM_URL="+upstream.URL), "OTEL_EXPORTER_OTLP_ENDPOINT=collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
		"OTEL_TRACES_SAMPLER=xray", "OTEL_TRACES_SAMPLER_ARG=endpoint=http://127.0.0.1:2000", "OTEL_PROPAGATORS=xray,b3")
	if code, stdout, stderr := command(t, env, "check"); code != 0 || strings.Count(stdout, "warning  environment: OTEL_") != 2 {
		t.Errorf("check: exit code %d, want 0 with 2 warnings about OTEL_ variables\n%s%s", code, stdout, stderr)
	}
	p := start(t, env, "serve")
	p.Listening(t)
	if r := p.ask(t, "IGAA-traced"); r.status != 200 {
		t.Errorf("got %d %s, want 200", r.status, r.body)
	}
	warned := 0
	for _, line := range p.settled(t).Lines("tracing") {
		if line["level"] == "WARN" {
			warned++
		}
	}
	if warned != 3 {
		t.Errorf("%d warnings, want one each for the endpoint, the protocol and the sampler", warned)
	}
}
