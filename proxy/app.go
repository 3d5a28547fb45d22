package proxy

import (
	"errors"
	"fmt"
	"net/http"
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
	epoch   *cache.Epoch // of its keys
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
		epoch, err := c.Epoch(options)
		if err != nil {
			return nil, fmt.Errorf("cache keys of the app: %w", err)
		}
		ready.epoch, options.Epoch = epoch, epoch
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

// hasID reports whether an app has this id.
func (e *engine) hasID(id string) bool {
	return slices.ContainsFunc(e.apps, func(a *app) bool { return a.ID == id })
}

// choose finds the app that a call belongs to, and its row: by the path prefix, else by client_id, else by Host, else it is the only one.
// A client_id that is nobody's here is passed over while there is but one app, as it always was.
func (e *engine) choose(r *http.Request, t destination, fit []*grant, p *params) (*app, *grant, *graph.Error) {
	var candidates []*app
	for _, a := range e.apps {
		if (t.named == nil || t.named == a) && rowOf(fit, a) != nil {
			candidates = append(candidates, a)
		}
	}
	if len(candidates) == 0 {
		return nil, nil, errGrantType(slices.DeleteFunc(slices.Clone(t.rows), func(g *grant) bool { return g.service != t.named.Service }))
	}
	if t.named == nil && len(candidates) > 1 {
		if id := p.value[paramClientID]; p.count[paramClientID] > 0 {
			candidates = slices.DeleteFunc(candidates, func(a *app) bool { return a.ID != id })
		} else if host, _ := hostName(r.Host); slices.ContainsFunc(candidates, func(a *app) bool { return slices.Contains(a.Hosts, host) }) {
			candidates = slices.DeleteFunc(candidates, func(a *app) bool { return !slices.Contains(a.Hosts, host) })
		}
	}
	if len(candidates) != 1 {
		return nil, nil, errWhichApp
	}
	return candidates[0], rowOf(fit, candidates[0]), nil
}

// likely is the app of a call that needs no secret, for its service's sake: by client_id, else by Host, else the first one.
func (e *engine) likely(r *http.Request) *app {
	p, refused := readQuery(r.URL.RawQuery)
	host, _ := hostName(r.Host)
	for _, fits := range []func(*app) bool{
		func(a *app) bool {
			return refused == nil && p.count[paramClientID] > 0 && a.ID == p.value[paramClientID]
		},
		func(a *app) bool { return slices.Contains(a.Hosts, host) },
	} {
		if i := slices.IndexFunc(e.apps, fits); i >= 0 {
			return e.apps[i]
		}
	}
	return e.apps[0]
}

// rowOf is the row that an app may use; nil if there is none.
func rowOf(rows []*grant, a *app) *grant {
	for _, g := range rows {
		if g.service == a.Service {
			return g
		}
	}
	return nil
}

// redirect takes the redirect_uri of a code's form, which must be on the app's list: the sidecar would else exchange codes that somebody
// got for a page of their own.
func (a *app) redirect(p *params) (string, *graph.Error) {
	uri := p.value[paramRedirect]
	switch {
	case len(a.RedirectURIs) == 0:
		return "", errNoCodes
	case p.count[paramRedirect] != 1:
		return "", errOneRedirect
	case !slices.Contains(a.RedirectURIs, uri):
		return "", errRedirect
	}
	return uri, nil
}
