package proxy

import (
	"context"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
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
const maxPurge = 4 * graph.MaxToken

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

// notUnderstood is a purge that was not asked for as it has to be. Nothing is guessed then: what was left out would purge everything.
type notUnderstood struct{ PurgeReply }

func (notUnderstood) code() int { return http.StatusBadRequest }

// purgeOperation is POST /purge. The token comes in the body, as a form: an address is written down here and there on its way.
func (p *Proxy) purgeOperation() Operation {
	return Operation{Name: "purge", Run: func(r *http.Request) (any, bool) {
		app, token, problem := purgeForm(r)
		if problem != "" {
			return notUnderstood{PurgeReply{Purged: "nothing", Apps: []string{}, Fleet: "none", Problem: problem}}, false
		}
		return p.Purge(r.Context(), app, token)
	}}
}

// purgeForm reads what is to be purged. No body is everything; a body is a form, of fields that are known, each once and not empty.
func purgeForm(r *http.Request) (app string, token Secret, problem string) {
	const form = "application/x-www-form-urlencoded"
	if r.URL.RawQuery != "" {
		return "", token, "write access_token and app, or neither, into the body, not into the address"
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxPurge))
	if err != nil {
		return "", token, "the body is too long, or broke off"
	}
	if len(body) == 0 {
		return "", token, ""
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != form {
		return "", token, "the body is not a form: write access_token and app, or no body to purge everything, with Content-Type: " + form
	}
	fields, err := url.ParseQuery(string(body))
	if err != nil {
		return "", token, "the form cannot be read: write access_token=TOKEN, app=NAME, or both with an & between"
	}
	for name, values := range fields {
		switch {
		case name != paramNames[paramToken] && name != "app": // what it is called instead is not repeated: it may be the token
			return "", token, "the form has a field that is neither access_token nor app"
		case len(values) > 1:
			return "", token, name + " is there more than once"
		case values[0] == "":
			return "", token, name + " is empty; leave it out, if all are meant"
		}
	}
	text := strings.TrimSuffix(strings.TrimSpace(fields.Get(paramNames[paramToken])), "#_") // which browsers put behind a code
	if fields.Has(paramNames[paramToken]) && (text == "" || len(text) > graph.MaxToken) {
		return "", token, "access_token is no token; leave it out to purge everything"
	}
	return fields.Get("app"), NewSecret(text), ""
}
