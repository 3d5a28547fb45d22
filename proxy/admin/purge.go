package admin

import (
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/igproxy/igproxy/proxy"
	"github.com/igproxy/igproxy/proxy/graph"
)

// PurgeReply is the reply to POST /purge.
type PurgeReply struct {
	Purged string   `json:"purged"` // all, token, or nothing
	Apps   []string `json:"apps"`
	// Fleet is "told" (every sidecar on this Redis forgets within seconds), "none" (there is no
	// Redis), or "not told".
	Fleet   string `json:"fleet"`
	Problem string `json:"problem,omitempty"`
}

// maxPurge bounds the form of POST /purge, in bytes.
const maxPurge = 4 * graph.MaxToken

// purgeOperation returns POST /purge. The token comes in the body, as a form, because addresses are
// written down on their way.
func (h *Handler) purgeOperation() Operation {
	return Operation{Name: "purge", Run: func(r *http.Request) (int, any) {
		reply := PurgeReply{Purged: "nothing", Apps: []string{}, Fleet: "none"}
		app, token, problem := purgeForm(r)
		if reply.Problem = problem; problem != "" {
			return http.StatusBadRequest, reply
		}
		apps, err := h.proxy.Purge(r.Context(), app, token)
		if err != nil {
			reply.Problem = err.Error()
		}
		if len(apps) == 0 {
			return http.StatusUnprocessableEntity, reply
		}
		reply.Apps, reply.Purged = apps, "all"
		if !token.IsZero() {
			reply.Purged = "token"
		}
		switch {
		case err != nil:
			reply.Fleet = "not told"
		case h.proxy.Readiness().Redis != "off":
			reply.Fleet = "told"
		}
		h.log.Warn("purged: the operator asked for it", "what", reply.Purged, "apps", reply.Apps, "fleet", reply.Fleet)
		if err != nil {
			return http.StatusUnprocessableEntity, reply
		}
		return http.StatusOK, reply
	}}
}

// purgeForm reads what is to be purged. No body is everything; a body is a form, of fields that are
// known, each once and not empty.
func purgeForm(r *http.Request) (app string, token proxy.Secret, problem string) {
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
		case name != "access_token" && name != "app": // what it is called instead is not repeated: it may be the token
			return "", token, "the form has a field that is neither access_token nor app"
		case len(values) > 1:
			return "", token, name + " is there more than once"
		case values[0] == "":
			return "", token, name + " is empty; leave it out, if all are meant"
		}
	}
	text := strings.TrimSuffix(strings.TrimSpace(fields.Get("access_token")), "#_") // which browsers put behind a code
	if fields.Has("access_token") && (text == "" || len(text) > graph.MaxToken) {
		return "", token, "access_token is no token; leave it out to purge everything"
	}
	return fields.Get("app"), proxy.NewSecret(text), ""
}
