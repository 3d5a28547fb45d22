package proxy

import (
	"context"
	"errors"

	"github.com/igproxy/igproxy/cache"
)

// Purge forgets what is remembered of the app with this label, or of all apps if the label is empty:
// everything, or what was answered for one token or code, under each grant and redirect URI. This
// process forgets it in any case, and Purge returns the labels of the apps. An error says why the other
// sidecars on the same Redis were not told; without apps, it says that the label is unknown.
func (p *Proxy) Purge(ctx context.Context, label string, token Secret) (apps []string, err error) {
	e := p.current.Load()
	for _, a := range e.apps {
		if label != "" && a.label != label {
			continue
		}
		apps = append(apps, a.label)
		if failed := p.purge(ctx, e, a, token); failed != nil {
			err = failed
		}
	}
	if len(apps) == 0 {
		return nil, errors.New("there is no app of this name")
	}
	return apps, err
}

func (p *Proxy) purge(ctx context.Context, e *engine, a *app, token Secret) error {
	if token.IsZero() {
		return p.carried.cache.PurgeAll(ctx, a.purges)
	}
	var keys []cache.Key
	for _, g := range e.grants {
		if !g.form {
			keys = append(keys, a.key(g, token, ""))
			continue
		}
		for _, uri := range a.RedirectURIs {
			keys = append(keys, a.key(g, token, uri))
		}
	}
	return p.carried.cache.PurgeKeys(ctx, a.purges, keys)
}
