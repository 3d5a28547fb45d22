package proxy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
)

// minSecret is the shortest client secret believed, in bytes. Real ones have 32; scrubbing a very short one out of texts would tear
// them up.
const minSecret = 8

// App is one app: everything that depends on which app a request belongs to travels together.
type App struct {
	// Label names the app in metrics and in the path prefix /apps/LABEL/. Empty: "default".
	Label string
	// Service is whose app it is. Empty: Instagram.
	Service Service
	// ID is the app id (client_id). It is mixed into the cache keys, so that two apps on one Redis never meet. May be empty with one app
	// and without RedirectURIs.
	ID string
	// Secret is the client secret that is added to each exchange. At least 8 bytes.
	Secret Secret
	// Previous is the client secret of before, while it is being changed: Instagram takes the one or the other, and whichever it took last is
	// sent first. Zero: there is none.
	Previous Secret
	// Key is what cache keys are derived from instead of a client secret, so that entries survive a change of it. Zero: Previous, or Secret
	// if there is none, so that entries survive until Previous is taken away.
	Key Secret
	// RedirectURIs are those that a code may be exchanged with, byte for byte. Empty: codes are not exchanged.
	RedirectURIs []string
	// Hosts are the Host names that mean this app.
	Hosts []string
}

// app is an App made ready: its keys by grant, and what Meta has said about the whole app.
type app struct {
	App
	secrets []Secret // one or two
	label   string
	keys    map[string]*cache.Keys
	purges  *cache.Purges
	state   *appState
}

// newApp makes an app ready. Without a cache, as for a Probe, nothing of it can be purged.
func newApp(a App, table []*grant, c *cache.Cache) (*app, error) {
	if a.Label == "" {
		a.Label = "default"
	}
	if a.Service == "" {
		a.Service = Instagram
	}
	secrets := []Secret{a.Secret}
	if !a.Previous.IsZero() && a.Previous.Reveal() != a.Secret.Reveal() {
		secrets = append(secrets, a.Previous)
	}
	if a.Key.IsZero() {
		a.Key = secrets[len(secrets)-1]
	}
	switch {
	case slices.ContainsFunc(secrets, func(s Secret) bool { return len(s.Reveal()) < minSecret }):
		return nil, fmt.Errorf("client secret: it has fewer than %d characters, so it cannot be an Instagram app's", minSecret)
	case len(a.RedirectURIs) > 0 && a.ID == "":
		return nil, errors.New("redirect_uris without an app_id: a code is exchanged with the app's id")
	}
	a.Hosts = slices.Clone(a.Hosts)
	ready := &app{App: a, label: a.Label, secrets: secrets, keys: make(map[string]*cache.Keys, len(table))}
	options := cache.KeysOptions{Secret: []byte(a.Key.Reveal()), AppID: a.ID}
	if c != nil {
		purges, err := c.Purges(options)
		if err != nil {
			return nil, fmt.Errorf("cache keys of the app: %w", err)
		}
		ready.purges, options.Purges = purges, purges
	}
	for _, g := range table {
		options.Scope = g.name
		keys, err := cache.NewKeys(options)
		if err != nil {
			return nil, fmt.Errorf("cache keys of the app: %w", err)
		}
		ready.keys[g.name] = keys
	}
	return ready, nil
}

// newApps makes all apps ready, and returns the Host names that requests may ask for.
func newApps(o Options, table []*grant, states *appStates) (apps []*app, hosts []string, err error) {
	hosts = slices.Clone(o.Hosts)
	for i, one := range o.Apps {
		a, err := newApp(one, table, o.Cache)
		if err != nil {
			return nil, nil, err
		}
		for _, other := range apps {
			if other.label == a.label {
				return nil, nil, fmt.Errorf("apps: two are named %q; give each a name of its own", a.label)
			}
			if other.Service == a.Service && other.ID == a.ID {
				return nil, nil, fmt.Errorf("apps: %q and %q have one app_id, or none; give each its own", other.label, a.label)
			}
		}
		a.state = states.of(a.label)
		for j := range a.Hosts {
			a.Hosts[j] = strings.ToLower(strings.TrimSuffix(a.Hosts[j], "."))
		}
		apps, hosts = append(apps, a), append(hosts, o.Apps[i].Hosts...)
	}
	return apps, hosts, nil
}

// appState is what Meta has said about an app as a whole. It outlives reloads.
type appState struct {
	limit   pause
	secrets clientSecrets
}

// paused returns the refusal to repeat instead of asking Meta for the app, or nil.
func (a *app) paused(now time.Time) *graph.Error {
	if e := a.state.limit.check(now); e != nil {
		return e
	}
	return a.state.secrets.check(now)
}

// appStates are the states of all apps, by label.
type appStates struct {
	mu  sync.Mutex // protects all
	all map[string]*appState
}

// of returns the state of an app, which is new if there is none.
func (s *appStates) of(label string) *appState {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]*appState{}
	}
	if s.all[label] == nil {
		s.all[label] = &appState{}
	}
	return s.all[label]
}

// appNamed finds an app by its label; nil if there is none.
func (e *engine) appNamed(label string) *app {
	for _, a := range e.apps {
		if a.label == label {
			return a
		}
	}
	return nil
}
