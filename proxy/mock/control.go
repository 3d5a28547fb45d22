package mock

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// control serves the control endpoints, which Instagram does not have. It reports whether the
// request was for one of them.
func (i *Instagram) control(w http.ResponseWriter, r *http.Request) bool {
	serve, method := i.controlAt(r.URL.Path)
	switch {
	case serve == nil:
		return false
	case method != "" && r.Method != method:
		w.Header().Set("Allow", method)
		writeMember(w, http.StatusMethodNotAllowed, "error", "this endpoint accepts only "+method)
	default:
		serve(w, r)
	}
	return true
}

const badApp = "app must be instagram, threads or facebook"

// controlAt returns the handler of a control endpoint and the only method that the endpoint
// accepts. If the method is "", the endpoint accepts every method. The handler is nil if path is
// not a control endpoint.
func (i *Instagram) controlAt(path string) (http.HandlerFunc, string) {
	switch path {
	case "/__stats":
		return i.serveStats, http.MethodGet
	case "/__faults":
		return serveFaults, http.MethodGet
	case "/__fault":
		return i.serveFault, http.MethodPost
	case "/__latency":
		return i.serveLatency, http.MethodPost
	case "/__age":
		return i.serveAge, http.MethodPost
	case "/__code":
		return i.serveCode, http.MethodPost
	case "/__secret":
		return i.serveSecret, http.MethodPost
	case "/__shape":
		return i.serveShape, http.MethodPost
	case "/__proof":
		return i.serveProof, http.MethodPost
	case "/__revoke":
		return i.serveRevoke, http.MethodPost
	case "/__webhook":
		return i.serveWebhook, http.MethodPost
	case "/__signed_request":
		return i.serveSignedRequest, http.MethodPost
	case "/__refresh":
		return i.serveRefresh, http.MethodPost
	case "/__reset":
		return i.serveReset, http.MethodPost
	case trap:
		return i.serveTrap, ""
	}
	return nil, ""
}

// writeMember sends a JSON object with one member. It adds a newline, because people read these
// responses in a terminal.
func writeMember(w http.ResponseWriter, status int, name string, value any) {
	write(w, status, "application/json", encoded(map[string]any{name: value})+"\n")
}

func write(w http.ResponseWriter, status int, contentType, text string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

func (i *Instagram) serveStats(w http.ResponseWriter, _ *http.Request) {
	write(w, http.StatusOK, "application/json", encoded(i.currentCounters().fullStats())+"\n")
}

func serveFaults(w http.ResponseWriter, _ *http.Request) {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, f := range faults {
		fmt.Fprintf(t, "%s\t%s\n", f.Prefix(), f.Description)
	}
	_ = t.Flush() // writes to memory
	write(w, http.StatusOK, "text/plain; charset=utf-8", b.String())
}

func (i *Instagram) serveFault(w http.ResponseWriter, r *http.Request) {
	mode := strings.TrimSuffix(r.FormValue("mode"), "-")
	if !r.Form.Has("mode") {
		writeMember(w, http.StatusBadRequest, "error", "mode is missing: name a fault, or use mode= to end the current fault")
		return
	}
	if err := i.setFault(mode); err != nil {
		writeMember(w, http.StatusBadRequest, "error", err.Error())
		return
	}
	writeMember(w, http.StatusOK, "fault", mode)
}

func (i *Instagram) serveLatency(w http.ResponseWriter, r *http.Request) {
	d, err := time.ParseDuration(r.FormValue("d"))
	if err != nil || d < 0 {
		writeMember(w, http.StatusBadRequest, "error", "d must be a duration with a unit, such as 200ms, and not negative")
		return
	}
	i.SetLatency(d)
	writeMember(w, http.StatusOK, "latency", d.String())
}

func (i *Instagram) serveAge(w http.ResponseWriter, r *http.Request) {
	d, err := time.ParseDuration(r.FormValue("d"))
	if err != nil || d < 0 {
		writeMember(w, http.StatusBadRequest, "error", "d must be a duration with a unit, such as 25h, and not negative")
		return
	}
	i.Age(d)
	writeMember(w, http.StatusOK, "older_by", d.String())
}

func (i *Instagram) serveCode(w http.ResponseWriter, r *http.Request) {
	writeMember(w, http.StatusOK, "code", i.Code(r.FormValue("client_id"), r.FormValue("redirect_uri")))
}

func (i *Instagram) serveShape(w http.ResponseWriter, r *http.Request) {
	mode := r.FormValue("mode")
	if err := i.setShape(mode); err != nil {
		writeMember(w, http.StatusBadRequest, "error", err.Error())
		return
	}
	writeMember(w, http.StatusOK, "shape", mode)
}

// serveSecret takes the secrets only from the body, because proxies may log URLs.
func (i *Instagram) serveSecret(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil || r.URL.RawQuery != "" {
		writeMember(w, http.StatusBadRequest, "error", "send the secrets in the body, as a form, such as secret=A&secret=B; add app=threads or app=facebook for another app")
		return
	}
	f := familyNamed(r.PostForm.Get("app"))
	if f == nil {
		writeMember(w, http.StatusBadRequest, "error", badApp)
		return
	}
	secrets := r.PostForm["secret"]
	i.setSecrets(f, secrets)
	writeMember(w, http.StatusOK, "secrets", len(secrets))
}

func (i *Instagram) serveReset(w http.ResponseWriter, _ *http.Request) {
	i.Reset()
	writeMember(w, http.StatusOK, "reset", true)
}

// serveTrap serves the target of the stand-in's redirects, which a client must not follow. It
// counts the request, and answers with a token that looks valid, so that a test detects a client
// that follows a redirect.
func (i *Instagram) serveTrap(w http.ResponseWriter, r *http.Request) {
	c := i.currentCounters()
	c.trapped()
	x := call{instagram: i, counters: c, w: w, r: r, endpoint: exchangeEndpoint, version: defaultVersion}
	x.respond(http.StatusOK, jsonType, x.tokenBody(newToken(c.key, trap, "IGAA", 0), strconv.Itoa(expiresIn(0)), ""))
}
