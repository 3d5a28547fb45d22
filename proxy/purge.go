package proxy

import (
	"context"

	"github.com/igproxy/igproxy/cache"
)

// Purge makes igproxy forget the answers that it remembers for the app with this label, or for all
// apps if the label is empty. If token is not zero, Purge forgets only the answers to this token or
// code, under each grant and redirect URI. With Options.Keep, it also forgets records, and with
// them the successors of tokens.
//
// Purge returns the labels of the apps, or an error if no app has the label. It also returns an
// error if the other sidecars on the same Redis could not be notified, but even then this process
// has forgotten the answers.
func (p *Proxy) Purge(ctx context.Context, label string, token Secret) (apps []string, err error) {
	e := p.current.Load()
	for _, a := range e.apps {
		if label != "" && a.Label != label {
			continue
		}
		apps = append(apps, a.Label)
		if failed := p.purge(ctx, e, a, token); failed != nil {
			err = failed
		}
	}
	if len(apps) == 0 {
		return nil, errNoSuchApp
	}
	return apps, err
}

func (p *Proxy) purge(ctx context.Context, e *engine, a *app, token Secret) error {
	if token.IsZero() {
		return p.carried.cache.PurgeAll(ctx, a.purges)
	}
	var keys []cache.Key
	for _, g := range e.grants {
		switch {
		case g.service != a.Service: // the app cannot use the grant, so there are no answers to forget
		case g.once:
			for _, uri := range a.RedirectURIs {
				keys = append(keys, a.key(g, token, uri))
			}
		case g.ttl > 0 && g.subject != appSubject:
			keys = append(keys, a.key(g, token, ""))
		}
	}
	if e.keep != nil {
		keys = append(keys, a.keepKey(token.Reveal()))
	}
	return p.carried.cache.PurgeKeys(ctx, a.purges, keys)
}

// Entries returns how many entries this process has in memory for the app with this label, or for
// all apps if the label is empty.
func (p *Proxy) Entries(label string) (n int) {
	for _, a := range p.current.Load().apps {
		if label == "" || a.Label == label {
			n += p.carried.cache.LenOf(a.purges)
		}
	}
	return n
}
