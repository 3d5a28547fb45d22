package admin

import (
	"context"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/igproxy/igproxy/proxy"
	"github.com/igproxy/igproxy/proxy/graph"
)

// PurgeResponse is the response to POST /purge.
type PurgeResponse struct {
	Purged string   `json:"purged"` // all, token, nothing, or later
	Apps   []string `json:"apps"`
	// Entries is how many entries this sidecar had in memory for the apps. It is set only if Purged
	// is "all".
	Entries *int `json:"entries,omitempty"`
	// InSeconds is the number of seconds until a merged purge takes effect. It is set only if
	// Purged is "later"; the status is then 202.
	InSeconds int `json:"in_seconds,omitempty"`
	// Fleet is "notified" (every sidecar on this Redis forgets within about a second), "not
	// notified", or "none" (Redis is not configured, or nothing has been purged yet).
	Fleet   string `json:"fleet"`
	Problem string `json:"problem,omitempty"`
}

// maxPurge bounds the form of POST /purge, in bytes.
const maxPurge = 4 * graph.MaxToken

// purge implements POST /purge.
func (h *Handler) purge(r *http.Request) (status int, _ any) {
	response := PurgeResponse{Purged: "nothing", Apps: []string{}, Fleet: "none"}
	app, token, err := readPurge(r)
	if err != nil {
		response.Problem = err.Error()
		return http.StatusBadRequest, response
	}
	if !token.IsZero() {
		return h.forget(r.Context(), app, token)
	}
	if in := h.merged.join(app); in > 0 {
		response.Purged, response.InSeconds = "later", int(math.Ceil(in.Seconds()))
		return http.StatusAccepted, response
	}
	status, response = h.forget(r.Context(), app, token)
	if len(response.Apps) == 0 {
		h.merged.forget(app)
	}
	return status, response
}

// purgeTimeout bounds a purge that runs after its request was answered.
const purgeTimeout = 2 * time.Second

// purgeLater performs a purge that was merged.
func (h *Handler) purgeLater(app string) {
	ctx, cancel := context.WithTimeout(context.Background(), purgeTimeout)
	defer cancel()
	h.forget(ctx, app, proxy.Secret{}, "delayed", true)
}

// forget purges the answers of an app, or of every app if the name is empty. With a token, it
// purges only the answers for that token. The attributes are added to the log line.
func (h *Handler) forget(ctx context.Context, app string, token proxy.Secret, attributes ...any) (status int, response PurgeResponse) {
	status, response = http.StatusOK, PurgeResponse{Purged: "nothing", Apps: []string{}, Fleet: "none"}
	entries := 0
	if token.IsZero() { // the response for a token has no count, and counting would look at all entries
		entries = h.proxy.Entries(app)
	}
	apps, err := h.proxy.Purge(ctx, app, token)
	if err != nil {
		status, response.Problem = http.StatusUnprocessableEntity, err.Error()
	}
	if len(apps) == 0 {
		return status, response
	}
	response.Apps, response.Purged = apps, "all"
	response.Entries = &entries
	if !token.IsZero() {
		response.Purged, response.Entries = "token", nil
	}
	switch {
	case err != nil:
		response.Fleet = "not notified"
	case h.proxy.Readiness().Redis != "off":
		response.Fleet = "notified"
	}
	h.log.Warn("purged", append([]any{"what", response.Purged, "apps", response.Apps, "fleet", response.Fleet}, attributes...)...)
	return status, response
}

// readPurge reads what to purge from the body. It refuses a query, because proxies in between may
// log URLs. An empty body means everything. Any other body must be a form with only known fields,
// each given once and not empty.
func readPurge(r *http.Request) (app string, token proxy.Secret, err error) {
	const form = "application/x-www-form-urlencoded"
	fail := func(problem string) (string, proxy.Secret, error) { return "", proxy.Secret{}, errors.New(problem) }
	if r.URL.RawQuery != "" {
		return fail("send access_token and app in the body, not in the URL")
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxPurge))
	if err != nil {
		return fail("the body is too long or incomplete")
	}
	if len(body) == 0 {
		return "", token, nil
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != form {
		return fail("the body is not a form; send Content-Type: " + form + ", or no body to purge everything")
	}
	fields, err := url.ParseQuery(string(body))
	if err != nil {
		return fail("the form is invalid; send access_token=TOKEN, app=NAME, or both joined by &")
	}
	for name, values := range fields {
		switch {
		case name != "access_token" && name != "app": // the error does not repeat the name, which may be a token
			return fail("the form has a field other than access_token and app")
		case len(values) > 1:
			return fail(name + " is given more than once")
		case values[0] == "":
			return fail(name + " is empty; leave it out to purge all " + map[string]string{"access_token": "tokens", "app": "apps"}[name])
		}
	}
	// Instagram appends #_ to the redirect URI, so a code that was copied from it may end in #_.
	text := strings.TrimSuffix(strings.TrimSpace(fields.Get("access_token")), "#_")
	if fields.Has("access_token") && (text == "" || len(text) > graph.MaxToken) {
		return fail("access_token is not a token; leave it out to purge all tokens")
	}
	return fields.Get("app"), proxy.NewSecret(text), nil
}
