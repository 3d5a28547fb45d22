package proxy

import (
	"fmt"

	"github.com/igproxy/igproxy/cache"
)

// minSecret is the shortest client secret believed, in bytes. Real ones have 32; scrubbing a very short one out of texts would tear
// them up.
const minSecret = 8

// App is one Instagram app: everything that depends on which app a request belongs to travels together.
type App struct {
	// Label names the app in metrics. Empty: "default".
	Label string
	// ID is the Instagram app id. It is mixed into the cache keys, so that two apps on one Redis never meet. May be empty.
	ID string
	// Secret is the client secret that is added to each exchange. At least 8 bytes.
	Secret Secret
	// Key is what cache keys are derived from instead of Secret, so that entries survive a change of the secret. Zero: Secret.
	Key Secret
}

// app is an App made ready: its keys by grant, and the hold that Instagram's answers about the whole app bring.
type app struct {
	label  string
	secret Secret
	keys   map[string]*cache.Keys
	hold   *hold
}

func newApp(a App, table []*grant, h *hold) (*app, error) {
	if len(a.Secret.Reveal()) < minSecret {
		return nil, fmt.Errorf("client secret: it has fewer than %d characters, so it cannot be an Instagram app's", minSecret)
	}
	if a.Label == "" {
		a.Label = "default"
	}
	if a.Key.IsZero() {
		a.Key = a.Secret
	}
	ready := &app{label: a.Label, secret: a.Secret, keys: make(map[string]*cache.Keys, len(table)), hold: h}
	for _, g := range table {
		keys, err := cache.NewKeys(cache.KeysOptions{Secret: []byte(a.Key.Reveal()), AppID: a.ID, Scope: g.name})
		if err != nil {
			return nil, fmt.Errorf("cache keys of the app: %w", err)
		}
		ready.keys[g.name] = keys
	}
	return ready, nil
}
