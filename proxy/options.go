package proxy

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/cache"
)

// Options configure a Proxy. Cache, Breaker, MaxInFlight, Metrics, Logger and Tracer are carried over by Reload; everything else may change.
type Options struct {
	// Apps are those whose secrets are held; at least one. Labels are unique, and so are ids among apps of one service.
	Apps []App
	// UpstreamURL is Instagram's base URL, https://graph.instagram.com. Required.
	UpstreamURL *url.URL
	// LoginURL is where Instagram's codes are exchanged. Nil: https://api.instagram.com.
	LoginURL *url.URL
	// ThreadsURL is the base URL of Threads. Nil: https://graph.threads.net.
	ThreadsURL *url.URL
	// UpstreamCAs are the only authorities believed for the upstream. Nil: the system's.
	UpstreamCAs *x509.CertPool
	// Timeout bounds asking Instagram, all tries and the body together. Required.
	Timeout time.Duration
	// MaxResponseBytes bounds an answer of Instagram's, after inflating. Required.
	MaxResponseBytes int64
	// MaxInFlight bounds the calls in flight of each app and grant. Required.
	MaxInFlight int
	// Retries after a call that brought no answer: 0 or 1.
	Retries int
	// TTL is how long a token is remembered at the most. Required.
	TTL time.Duration
	// RefreshTTL is how long a refreshed token is remembered, so that many processes that refresh one token cost one call. Zero: 5 min.
	RefreshTTL time.Duration
	// CodeTTL is how long the answer to a code is remembered: a code works once, and double callbacks get the first answer. Zero: 2 min.
	CodeTTL time.Duration
	// NegativeTTL is how long a definite refusal is remembered. Zero: not at all.
	NegativeTTL time.Duration
	// ClaimBudget is what the cache may take for one claim; it is added to the exchange's budget.
	ClaimBudget time.Duration
	// Hosts are the names, without port, that requests may ask for besides loopback's own. Empty with AnyHost.
	Hosts []string
	// AnyHost turns the check of the Host name off: right for a Unix socket, or beyond loopback without a list.
	AnyHost bool
	// Bearer is the SHA-256 of the token that every request must show, asked anew for each; see trust. Nil: none is asked for.
	Bearer func() [sha256.Size]byte
	// Passthrough says what becomes of every other path. Nil: it is refused.
	Passthrough *PassthroughOptions
	// Cache remembers answers. Required; its owner closes it after the Proxy.
	Cache *cache.Cache
	// Breaker guards the upstream. OnChange is set by New.
	Breaker breaker.Options
	// Metrics are counted here. Nil: counted and shown nowhere.
	Metrics *Metrics
	// Logger gets one line a request, after the answer, and one a change of state. Nil: silence.
	Logger *slog.Logger
	// HitLines is how many lines a second the Logger gets about hits; the next line says how many had none. Zero: all have one.
	HitLines int
	// Tracer makes spans of each request and its steps; the lane is then off, so that every hit has them. Nil: none.
	Tracer Tracer
	// Version is said to Instagram in User-Agent. Empty: "dev".
	Version string
}

// maxAnswer bounds upstream.max_response_bytes: no answer of Instagram's has a thousandth of it.
const maxAnswer = 1 << 30

// withDefaults fills in what may be left out.
func (o Options) withDefaults() Options {
	o.LoginURL = cmp.Or(o.LoginURL, &url.URL{Scheme: "https", Host: "api.instagram.com"})
	o.ThreadsURL = cmp.Or(o.ThreadsURL, &url.URL{Scheme: "https", Host: "graph.threads.net"})
	o.RefreshTTL = cmp.Or(o.RefreshTTL, 5*time.Minute)
	o.CodeTTL = cmp.Or(o.CodeTTL, 2*time.Minute)
	return o
}

// check looks at what engine and Probe are built from; each App is looked at by newApp.
func (o Options) check() error {
	if len(o.Apps) == 0 {
		return errors.New("apps: there is none, and so no client secret")
	}
	if o.UpstreamURL == nil || o.UpstreamURL.Host == "" {
		return errors.New("upstream url is not set: use https://graph.instagram.com")
	}
	for name, u := range map[string]*url.URL{"upstream url": o.UpstreamURL, "upstream login_url": o.LoginURL, "threads url": o.ThreadsURL} {
		if u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			return fmt.Errorf("%s is neither https nor http: leave it out, or use https://graph.instagram.com and the like", name)
		}
	}
	switch {
	case o.Timeout <= 0:
		return fmt.Errorf("upstream timeout is %s: it must be more than 0", o.Timeout)
	case o.MaxResponseBytes < 1 || o.MaxResponseBytes > maxAnswer:
		return fmt.Errorf("upstream max_response_bytes is %d: it must be at least 1 and at most %d", o.MaxResponseBytes, maxAnswer)
	case o.Retries < 0 || o.Retries > 1:
		return fmt.Errorf("upstream retries is %d: it must be 0 or 1", o.Retries)
	case o.TTL <= 0:
		return fmt.Errorf("cache ttl is %s: it must be more than 0", o.TTL)
	}
	return nil
}

// Budget is the longest an exchange takes: the claim, then asking Instagram, and a little for ourselves. A server's write time-out
// must be longer.
func (o Options) Budget() time.Duration { return o.ClaimBudget + o.Timeout + 100*time.Millisecond }
