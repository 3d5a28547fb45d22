package proxy

import (
	"context"
	"net/http"
	"strings"

	"github.com/igproxy/igproxy/cache"
)

// PurgeReply is what POST /purge answers.
type PurgeReply struct {
	Purged string   `json:"purged"` // all, token, or nothing
	Apps   []string `json:"apps"`
	// Fleet says who else knows: "told" (every sidecar on this Redis forgets within seconds), "none" (there is no Redis), or "not told".
	Fleet   string `json:"fleet"`
	Problem string `json:"problem,omitempty"`
}

// maxPurge bounds the form of POST /purge, in bytes.
const maxPurge = 4 * maxToken

// Purge forgets what is remembered of an app, or of all apps if the label is empty: everything, or what a token or code was answered with,
// under each grant. It is forgotten here in any case, and in the fleet once Redis has been told.
func (p *Proxy) Purge(ctx context.Context, label string, token Secret) (PurgeReply, bool) {
	e := p.current.Load()
	reply := PurgeReply{Purged: "nothing", Apps: []string{}, Fleet: "none"}
	apps := e.apps
	if label != "" {
		a := e.appNamed(label)
		if a == nil {
			reply.Problem = "there is no app of this name"
			return reply, false
		}
		apps = []*app{a}
	}
	reply.Purged = "all"
	if !token.IsZero() {
		reply.Purged = "token"
	}
	if p.carried.cache.Health().State != "off" {
		reply.Fleet = "told"
	}
	for _, a := range apps {
		reply.Apps = append(reply.Apps, a.label)
		if err := p.purge(ctx, e, a, token); err != nil {
			reply.Fleet, reply.Problem = "not told", err.Error()
		}
	}
	p.carried.log.Warn("purged: the operator asked for it", "what", reply.Purged, "apps", reply.Apps, "fleet", reply.Fleet)
	return reply, reply.Problem == ""
}

func (p *Proxy) purge(ctx context.Context, e *engine, a *app, token Secret) error {
	if token.IsZero() {
		return p.carried.cache.PurgeAll(ctx, a.epoch)
	}
	var keys []cache.Key
	for _, of := range a.keys {
		keys = append(keys, of.Derive(token.Reveal()))
	}
	return p.carried.cache.PurgeKeys(ctx, a.epoch, keys, e.longest)
}

// purgeOperation is POST /purge. The token comes in the body, as a form: an address is written down here and there on its way.
func (p *Proxy) purgeOperation() Operation {
	return Operation{Name: "purge", Run: func(r *http.Request) (any, bool) {
		r.Body = http.MaxBytesReader(nil, r.Body, maxPurge)
		if err := r.ParseForm(); err != nil || r.URL.RawQuery != "" {
			return PurgeReply{Purged: "nothing", Apps: []string{}, Fleet: "none", Problem: "write access_token and app, or neither, into the body, as a form"}, false
		}
		token := strings.TrimSuffix(strings.TrimSpace(r.PostForm.Get(paramNames[paramToken])), "#_") // which browsers put behind a code
		if r.PostForm.Has(paramNames[paramToken]) && (token == "" || len(token) > maxToken) {
			return PurgeReply{Purged: "nothing", Apps: []string{}, Fleet: "none", Problem: "access_token is no token; leave it out to purge everything"}, false
		}
		return p.Purge(r.Context(), r.PostForm.Get("app"), NewSecret(token))
	}}
}
