package proxy

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
)

// minSecret is the length of the shortest accepted client or webhook secret, in bytes. Meta's
// secrets are 32 bytes long. igproxy removes secrets from Meta's error messages, and a very short
// secret could be part of an ordinary word.
const minSecret = 8

// App configures one app that is registered with Meta.
type App struct {
	// Label names the app in metrics and in the path prefix /apps/LABEL/. It cannot be "none".
	// Empty: "default".
	Label string
	// Service is the API that the app belongs to. Empty: Instagram.
	Service Service
	// ID is the app's ID (client_id). It is part of the cache keys, so that two apps that use the
	// same Redis never share entries. The apps of one service must have different IDs. One app of
	// each service may have an empty ID, if it has neither RedirectURIs nor a Key.
	ID string
	// Secret is the client secret. It has at least 8 bytes.
	Secret Secret
	// Previous is the previous client secret, while the client secret is being changed. Meta
	// accepts only one of the two. igproxy first sends the one that Meta accepted last. Zero: there
	// is only Secret.
	Previous Secret
	// Key is the secret from which cache keys are derived. With a Key, entries survive a change of
	// the client secret. An app with a Key needs an ID, because several apps may have the same Key.
	// Zero: cache keys are derived from Previous if it is set, and otherwise from Secret.
	Key Secret
	// WebhookSecrets are further secrets with which the app's webhooks and signed requests may be
	// signed, besides Secret and Previous. For example, Meta may sign the webhooks of an Instagram
	// app with the secret of its Facebook app. WebhookSecrets are used for nothing else. Each has
	// at least 8 bytes.
	WebhookSecrets []Secret
	// RedirectURIs are the values of redirect_uri with which a code may be exchanged. They are
	// compared byte by byte. An item "" allows codes without a redirect_uri, which Facebook issues
	// for embedded signup. Empty: no codes are exchanged.
	RedirectURIs []string
	// AppSecretProof makes igproxy add appsecret_proof to the app's passed-through calls. See
	// https://developers.facebook.com/docs/graph-api/guides/secure-requests.
	AppSecretProof bool
	// Hosts are the Host names that select this app.
	Hosts []string
}

// app is an App that is ready for requests. Its Label, Service and Key are set.
type app struct {
	App
	upstream string                 // the base URL of its service
	secrets  []Secret               // Secret, and Previous if it differs
	signers  []Secret               // secrets, and WebhookSecrets that differ from them
	keys     map[string]*cache.Keys // by the grant's name
	index    *cache.Keys            // see indexKey
	records  *cache.Keys            // see keepKey
	purges   *cache.Purges
	state    *appState
	passing  *slots // limits the passed-through calls in flight; nil: no calls are passed through
}

// appState is what Meta's answers have shown about an app: its rate limit, and which client secret
// Meta accepts. A reload keeps it if the label still names the same app (see isSame).
type appState struct {
	limit   pause
	secrets clientSecrets
}

// newApps returns the apps of o, ready for requests. old has the apps of the previous
// configuration. An app that is in old with the same label keeps its state (see isSame).
func newApps(o Options, table []*grant, old []*app) (apps []*app, err error) {
	for _, one := range o.Apps {
		a, err := newApp(one, table, o.Cache)
		if err != nil {
			return nil, err
		}
		if a.Label == noApp {
			return nil, fmt.Errorf("apps: %q cannot be the name of an app, because igproxy uses it for requests whose app is unknown", noApp)
		}
		if appNamed(apps, a.Label) != nil {
			return nil, fmt.Errorf("apps: two apps are named %q; give each its own name", a.Label)
		}
		for _, other := range apps {
			if other.Service == a.Service && other.ID == a.ID {
				return nil, fmt.Errorf("apps: %q and %q have the same app_id, or both lack an app_id; give each app its own",
					other.Label, a.Label)
			}
		}
		old := appNamed(old, a.Label)
		if a.upstream = baseOf(baseURLs(o)[a.Service]); old != nil && old.isSame(a) {
			a.state = old.state
		}
		if o.Passthrough != nil {
			a.passing = passingSlots(o.MaxPassedInFlight, old)
		}
		apps = append(apps, a)
	}
	return apps, nil
}

// newApp prepares an App for requests. Its caller newApps sets the fields upstream and passing. If
// the cache is nil, as in CheckOnline, the app has no purges.
func newApp(a App, table []*grant, c *cache.Cache) (*app, error) {
	a.Label, a.Service = cmp.Or(a.Label, "default"), cmp.Or(a.Service, Instagram)
	secrets := []Secret{a.Secret}
	if !a.Previous.IsZero() && !a.Previous.equal(a.Secret) {
		secrets = append(secrets, a.Previous)
	}
	shared := !a.Key.IsZero()
	if !shared {
		a.Key = secrets[len(secrets)-1]
	}
	signers := slices.Clone(secrets)
	for _, one := range a.WebhookSecrets {
		if !slices.ContainsFunc(signers, one.equal) {
			signers = append(signers, one)
		}
	}
	tooShort := func(s Secret) bool { return len(s.Reveal()) < minSecret }
	switch {
	case shared && a.ID == "":
		return nil, errors.New("an app with a cache key needs an app_id, because two apps with the same key and no app_id would get each other's tokens")
	case slices.ContainsFunc(secrets, tooShort):
		return nil, fmt.Errorf("client secret: it has fewer than %d characters; copy it from Meta's dashboard",
			minSecret)
	case slices.ContainsFunc(signers, tooShort):
		return nil, fmt.Errorf("webhook secret: it has fewer than %d characters; copy it from Meta's dashboard",
			minSecret)
	case len(a.RedirectURIs) > 0 && a.ID == "":
		return nil, errors.New("an app with redirect_uris needs an app_id, because Meta requires the app's ID when a code is exchanged")
	}
	ready := &app{App: a, secrets: secrets, signers: signers, keys: map[string]*cache.Keys{}, state: &appState{}}
	options := cache.KeysOptions{Secret: []byte(a.Key.Reveal()), Service: string(a.Service), AppID: a.ID}
	if c != nil {
		purges, err := c.Purges(options)
		if err != nil {
			return nil, fmt.Errorf("cache keys of the app: %w", err)
		}
		ready.purges, options.Purges = purges, purges
	}
	for _, g := range table {
		options.Scope, options.Upstream = g.name, baseOf(g.base)
		keys, err := cache.NewKeys(options)
		if err != nil {
			return nil, fmt.Errorf("cache keys of the app: %w", err)
		}
		ready.keys[g.name] = keys
	}
	options.Upstream = ""
	for scope, keys := range map[string]**cache.Keys{indexScope: &ready.index, keepScope: &ready.records} {
		options.Scope = scope
		var err error
		if *keys, err = cache.NewKeys(options); err != nil {
			return nil, fmt.Errorf("cache keys of the app: %w", err)
		}
	}
	return ready, nil
}

// isSame reports whether two apps with the same label are the same app at Meta. If they are, what
// Meta has shown about one also holds for the other.
func (a *app) isSame(b *app) bool {
	return a.Service == b.Service && a.ID == b.ID && a.upstream == b.upstream
}

// loginHost is the name of the host at which Instagram exchanges codes.
const loginHost = "api.instagram.com"

// metaHosts are the names of Meta's own hosts, by service. igproxy gets requests for these names if
// an app's connections to Meta are redirected to igproxy. The name then selects the service.
var metaHosts = map[Service][]string{
	Instagram: {"graph.instagram.com", loginHost},
	Threads:   {"graph.threads.net", "graph.threads.com"},
	Facebook:  {"graph.facebook.com"},
}

// appToken returns the app's own access token, which consists of the app's ID and a client secret:
// https://developers.facebook.com/docs/facebook-login/guides/access-tokens#apptokens. For Threads,
// it begins with TH: https://developers.facebook.com/docs/threads/get-started.
func (a *app) appToken(secret string) string {
	if a.Service == Threads {
		return "TH|" + a.ID + "|" + secret
	}
	return a.ID + "|" + secret
}

// proof returns the appsecret_proof of a token: the hexadecimal HMAC-SHA256 of the token, with the
// client secret as the key.
func (a *app) proof(token string) string {
	secret, _ := a.state.secrets.pick(Secret{})
	mac := hmac.New(sha256.New, []byte(secret.Reveal()))
	mac.Write([]byte(token))
	return hex.EncodeToString(mac.Sum(nil))
}

// serviceOf returns the service whose host is named in hostport, which is a host name with an
// optional port. It returns an empty Service if the host is not one of Meta's.
func serviceOf(hostport string) Service {
	name, _ := hostName(hostport)
	for service, hosts := range metaHosts {
		if slices.Contains(hosts, name) {
			return service
		}
	}
	return ""
}

// hasHost reports whether a Host name, in its normal form, selects the app.
func (a *app) hasHost(name string) bool {
	return slices.Contains(metaHosts[a.Service], name) ||
		slices.ContainsFunc(a.Hosts, func(h string) bool { return normalHost(h) == name })
}

// baseURLs returns the base URL of each service.
func baseURLs(o Options) map[Service]*url.URL {
	return map[Service]*url.URL{Instagram: o.UpstreamURL, Threads: o.ThreadsURL, Facebook: o.FacebookURL}
}

// baseOf returns a base URL in the form from which cache keys are derived: without a slash at the
// end.
func baseOf(u *url.URL) string { return strings.TrimSuffix(u.String(), "/") }

// appNamed returns the app with this label, or nil.
func appNamed(apps []*app, label string) *app {
	for _, a := range apps {
		if a.Label == label {
			return a
		}
	}
	return nil
}

// paused returns the refusal that token calls of this app get while the app is paused. It returns
// nil if the app is not paused.
func (a *app) paused(now time.Time) *graph.Error {
	if e := a.state.limit.check(now); e != nil {
		return e
	}
	return a.state.secrets.paused(now)
}

// key returns the cache key of a token, or of a code and its redirect URI.
func (a *app) key(g *grant, token Secret, redirect string) cache.Key {
	subject := token.Reveal()
	if redirect != "" {
		subject += "\x00" + redirect // neither a code nor a URI contains a zero byte
	}
	return a.keys[g.name].Derive(subject)
}
