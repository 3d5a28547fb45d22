package proxy

import (
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

// Options configure a Proxy. Reload keeps the Cache, Breaker, MaxInFlight, Metrics, Logger and
// Tracer that New was given; everything else may change. A field that is not a bool is required,
// unless its comment says what zero, nil or empty means.
type Options struct {
	// Apps are the apps that are served; at least one. Labels are unique. The IDs of the apps of
	// one service are unique too.
	Apps []App
	// UpstreamURL is Instagram's base URL, such as https://graph.instagram.com.
	UpstreamURL *url.URL
	// LoginURL is where Instagram's codes are exchanged, such as https://api.instagram.com.
	LoginURL *url.URL
	// ThreadsURL is the base URL of Threads, such as https://graph.threads.net.
	ThreadsURL *url.URL
	// FacebookURL is Facebook's base URL, such as https://graph.facebook.com.
	FacebookURL *url.URL
	// UpstreamCAs are the only certificate authorities trusted for the upstreams. Nil: the
	// system's.
	UpstreamCAs *x509.CertPool
	// Timeout is the time in which Meta must answer a token call, including a retry and the
	// transfer of all bodies.
	Timeout time.Duration
	// MaxResponseBytes limits the size of the response to a token call, in bytes after
	// decompression. In a passed-through response that is longer, paging is not rewritten.
	MaxResponseBytes int64
	// MaxInFlight limits the token calls in flight to Meta, for each app and grant. For code
	// exchanges, each redirect URI of an app has its own limit.
	MaxInFlight int
	// MaxConnectionAge is how long a connection to Meta may be used for further calls. With a
	// limit, igproxy follows changes in DNS. Zero: there is no limit.
	MaxConnectionAge time.Duration
	// IgnoreProxy makes calls to Meta ignore HTTPS_PROXY and the related variables.
	IgnoreProxy bool
	// CheckSecretsAtStart makes CheckSecrets test the client secrets that New gets or Reload
	// changes, until a call has shown whether Meta accepts them.
	CheckSecretsAtStart bool
	// ReadyWhenRefused makes readiness independent of the client secrets: the Proxy is ready before
	// CheckSecrets has tested them, and while Meta refuses those of all apps.
	ReadyWhenRefused bool
	// Retries is how often a failed call is retried, if it may be repeated: 0 or 1.
	Retries int
	// TTL is the longest time that the token from an exchange, or an app token, is remembered. For
	// Facebook's exchange, see RefreshTTL.
	TTL time.Duration
	// RefreshTTL is the longest time that the answer to a refresh is remembered. It lets many
	// processes refresh one token with a single call to Meta. Facebook's fb_exchange_token counts
	// as a refresh.
	RefreshTTL time.Duration
	// CodeTTL is the longest time that the answer to a code exchange is remembered. A code works
	// only once, so a repeated callback gets the first answer.
	CodeTTL time.Duration
	// NegativeTTL is how long igproxy remembers that a token is invalid. Most other refusals are
	// remembered for NegativeTTL too, but for at most ten seconds. Zero: not at all. A rate limit
	// of a user is remembered until it ends.
	NegativeTTL time.Duration
	// ClaimBudget is the time that the cache may take for one claim, in addition to Timeout. Zero
	// if the cache has no Redis.
	ClaimBudget time.Duration
	// Hosts are Host names, without ports, that are served in addition to loopback names, the Hosts
	// of Apps, and the names of Meta's hosts for the services of Apps. Empty: no further names.
	Hosts []string
	// AnyHost allows every Host name, except those of Meta's hosts for services without an app. It
	// suits a Unix socket. OnLoopback and NewLaneOnLoopback ignore it.
	AnyHost bool
	// Bearers returns the SHA-256 of the token that each request must carry: as X-Igproxy-Token, as
	// the password of Basic authentication, or as a bearer token in calls that cannot have Meta's
	// token in Authorization. During a rotation Bearers also returns the hash of the previous
	// token, which is still accepted. Bearers is called for each request. Nil: no token is
	// required.
	Bearers func() [][sha256.Size]byte
	// Passthrough configures the calls that are not token calls. Nil: they are refused.
	Passthrough *PassthroughOptions
	// MaxPassedInFlight limits the passed-through calls in flight for each app. Further calls wait
	// for up to a second. At most eight times as many calls can wait; the rest are refused at once.
	// Required with Passthrough.
	MaxPassedInFlight int
	// DebugToken makes igproxy answer calls of GET /debug_token whose access_token is missing, APP
	// or an app token (see takesAppToken). igproxy sends these calls to Meta with an access_token
	// that consists of the app's ID and client secret. All other calls of /debug_token are passed
	// through. False: all are passed through.
	DebugToken bool
	// Keep configures the refresh of tokens that are used. Nil: igproxy itself refreshes no token.
	Keep *KeepOptions
	// Cache remembers answers. The caller closes it after the Proxy.
	Cache *cache.Cache
	// Breaker configures the circuit breakers. OnChange is not used.
	Breaker breaker.Options
	// Metrics counts requests. Nil: the counts are not published.
	Metrics *Metrics
	// Logger gets one line for each request and each change of state. Nil: nothing is logged.
	Logger *slog.Logger
	// LogLines limits the lines per second about requests with the same outcome and status; hits
	// have a separate limit. Zero: each request has a line.
	LogLines int
	// Tracer makes spans for each request and its steps, and turns off the lane (see NewLane). Nil:
	// no spans.
	Tracer Tracer
	// Version is sent in User-Agent. Empty: "dev".
	Version string
}

// KeepOptions configure the refresh of long-lived tokens that are used. All fields are required.
type KeepOptions struct {
	// RefreshBefore is the time before the end of a token in which a use of the token leads to a
	// refresh.
	RefreshBefore time.Duration
	// CheckEvery is how long igproxy waits before it refreshes a token again. The time begins when
	// Meta refreshes the token or refuses to refresh it.
	CheckEvery time.Duration
	// MaxPerMinute limits the refreshes that are started per minute. Tokens that end sooner come
	// first.
	MaxPerMinute int
}

// check returns an error if an option is invalid. newEngine and CheckOnline call it. The fields of
// Apps are checked in newApps, and Cache and Breaker in New.
func (o Options) check() error {
	if len(o.Apps) == 0 {
		return errors.New("apps: no app is configured, so there is no client secret")
	}
	urls := []*url.URL{o.UpstreamURL, o.LoginURL, o.ThreadsURL, o.FacebookURL}
	for i, name := range []string{"upstream url", "upstream login_url", "threads url", "facebook url"} {
		if u := urls[i]; u == nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			return fmt.Errorf("%s: it must be an https or http URL such as https://graph.instagram.com", name)
		}
	}
	if o.Timeout <= 0 || o.MaxResponseBytes < 1 || o.MaxInFlight < 1 || o.Retries < 0 || o.Retries > 1 {
		return errors.New("upstream timeout, max_response_bytes and max_in_flight must be more than 0, and retries 0 or 1")
	}
	if o.Passthrough != nil && o.MaxPassedInFlight < 1 {
		return errors.New("passthrough max_in_flight must be more than 0")
	}
	if k := o.Keep; k != nil && (min(k.RefreshBefore, k.CheckEvery) <= 0 || k.MaxPerMinute < 1) {
		return errors.New("keep refresh_before, check_every and max_per_minute must be more than 0")
	}
	if min(o.TTL, o.RefreshTTL, o.CodeTTL) <= 0 {
		return errors.New("cache ttl, refresh ttl and code ttl must be more than 0")
	}
	return nil
}

// Budget returns the longest time that a flight can take: the claim, the call, and a margin. A
// server's write timeout must be longer.
func (o Options) Budget() time.Duration { return o.ClaimBudget + o.Timeout + 100*time.Millisecond }
