package integration

// This part of TestNoLeaks keeps tokens alive. Neither the tokens that apps send nor their
// successors, which only igproxy and Meta know at first, may be readable anywhere.

import "strings"

const keptKind = "a token that is kept alive"

// keptCalls lists calls whose responses do not repeat the token.
var keptCalls = []passedCall{{keptKind, "GET", "/me", "query"}, {keptKind, "GET", "/me", "bearer"}, {keptKind, "POST", "/me/media", "form"}}

// kept uses tokens until their successors are sent, refreshes the tokens as an app would, and
// revokes the successors. While tokens wait for a refresh in another sidecar, kept ends that
// sidecar with SIGQUIT, which dumps its goroutines.
func (l *leaks) kept() {
	settings := append(keeping(once), "AUTH_BEARER_FILE="+file(l.t, "bearer", l.bearer+"\n"), "REDIS_MODE=single", "REDIS_URL="+l.redis.URL())
	p := l.sidecar(settings...)
	for _, c := range keptCalls {
		text, next := l.newCredential(keptKind, "IGAA"), ""
		l.use(p, c, text)
		eventually(l.t, "the successor is sent", func() bool {
			l.use(p, c, text)
			if issued := l.ig.Issued(text); len(issued) > 0 {
				next = issued[0]
			}
			return next != "" && l.ig.CallsFor(next) > 0
		})
		r, err := tokenCall{path: "/refresh_access_token", grant: "ig_refresh_token"}.send(l.t.Context(), p, text, l.bearer)
		if err != nil || r.token() != next || !strings.HasPrefix(r.header.Get("Cache-Status"), "igproxy; hit") {
			l.t.Errorf("a refresh by the app: got %d %s, %v, want 200 with the successor %s; Cache-Status: got %q, want a hit", r.status, r.body, err, next, r.header.Get("Cache-Status"))
		}
		l.answered(text, r)
		l.use(p, c, next)
		l.ig.Revoke(next, 460)
		l.use(p, c, text)
	}
	l.pages(p)
	l.end(p)

	waiting := l.sidecar(append(settings, "KEEP_MAX_PER_MINUTE=1")...)
	for _, c := range keptCalls {
		l.use(waiting, c, l.newCredential(keptKind, "IGAA"))
	}
	eventually(l.t, "two of the three tokens wait for a refresh", func() bool { return waiting.metric(l.t, `igproxy_keep_waiting{app="default"}`) == 2 })
	l.pages(waiting)
	l.quit(waiting)
}

// use makes a call with a token, and records the response. The call must succeed.
func (l *leaks) use(p *process, c passedCall, token string) {
	l.t.Helper()
	r, err := c.ask(l.t.Context(), p, token, l.bearer)
	if err != nil || r.status != 200 {
		l.t.Fatalf("%s: got %d %s, %v; want 200", c.where, r.status, r.body, err)
	}
	l.record("passed-through responses", r.status, r.body, r.header)
}
