package proxy

import (
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
	"github.com/igproxy/igproxy/proxy/signature"
)

// igproxy's own calls check what Meta signed with an app's secret, so that an app with webhooks
// needs no secret. They take no step between decode and answer, and ask no one.

// ownPrefix precedes the paths of these calls. Meta has no such path.
const (
	ownSegment = "_igproxy"
	ownPrefix  = "/" + ownSegment + "/"
)

// verified is what such a call answers if one of the app's secrets signed what it got.
type verified struct {
	status  int
	payload []byte // JSON; empty: there is no body
}

// ownCall is one of these calls.
type ownCall struct {
	name   string // in the path and, instead of a grant's name, in logs and metrics
	verify func(*reply, *http.Request, []string) (*verified, *graph.Error)
}

// ownCalls are all of these calls. Each is a POST.
var ownCalls = []ownCall{{"webhook", (*reply).verifyWebhook}, {"signed_request", (*reply).verifySignedRequest}}

// ownCall returns the call at the destination, if there is one.
func (t destination) ownCall() (c ownCall, ok bool) {
	i := slices.IndexFunc(ownCalls, func(c ownCall) bool { return strings.TrimSuffix(t.path, "/") == ownPrefix+c.name })
	if i < 0 {
		return ownCall{}, false
	}
	return ownCalls[i], true
}

// verify answers a call below ownPrefix, or sets the error.
func (x *reply) verify(e *engine, w http.ResponseWriter, r *http.Request, t destination) {
	r.Body = http.MaxBytesReader(w, r.Body, maxRead) // its errors last
	x.decide(e, r, t)
	if x.last && dropRest(w, r) {
		x.last = lastAfterDrop(r)
	}
}

// maxRead is how many bytes of a body are read at most, dropped ones included.
const maxRead = 2 * signature.MaxWebhook

// dropRest reads and drops the rest of a body, and reports whether the connection can be kept. If
// the body were left unread, net/http could reset the connection while the client sends, and the
// client would not get the answer. dropRest waits no longer than dropTime.
func dropRest(w http.ResponseWriter, r *http.Request) bool {
	if r.ContentLength > signature.MaxWebhook || r.Header.Get("Expect") != "" { // reading would send 100 Continue
		return false
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(dropTime)) // the server supports it
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return false
	}
	_ = control.SetReadDeadline(time.Time{})
	return true
}

// decide answers the call, or sets the error.
func (x *reply) decide(e *engine, r *http.Request, t destination) {
	c, ok := t.ownCall()
	if !ok {
		x.err = errOwnPath
		return
	}
	x.grant = c.name
	if r.Method != http.MethodPost {
		x.err = errPostOnly
		return
	}
	a := t.app
	if a == nil {
		fit := narrow(e.apps, r, &params{})
		if len(fit) != 1 {
			x.err = errWhoseSignature
			return
		}
		a = fit[0]
	}
	x.app = a.Label
	x.signed, x.err = c.verify(x, r, a.signingSecrets())
}

// signingSecrets returns the texts of the secrets that may have signed what Meta sends to the app.
func (a *app) signingSecrets() (texts []string) {
	for _, one := range a.signers {
		texts = append(texts, one.Reveal())
	}
	return texts
}

// verifyWebhook checks the signature of a webhook. The body streams through the hash, and nothing
// of it is kept. The time that it may take is the server's ReadTimeout.
func (x *reply) verifyWebhook(r *http.Request, secrets []string) (*verified, *graph.Error) {
	w, err := signature.ReadWebhook(r.Header["X-Hub-Signature-256"], r.Header["X-Hub-Signature"])
	if err != nil {
		return nil, errUnsignedWebhook
	}
	if r.ContentLength > signature.MaxWebhook { // reading would send 100 Continue
		return nil, errWebhookTooLarge
	}
	signed, err := w.IsSigned(r.Body, secrets)
	switch {
	case errors.Is(err, signature.ErrTooLarge):
		return nil, errWebhookTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, errSlowBody
	case err != nil:
		return nil, errCutBody
	}
	x.last = lastAfterDrop(r) // the whole body has been read
	if !signed {
		return nil, errWrongWebhook()
	}
	return &verified{status: http.StatusNoContent}, nil
}

// verifySignedRequest checks the form field signed_request and answers with its payload.
func (x *reply) verifySignedRequest(r *http.Request, secrets []string) (*verified, *graph.Error) {
	text, refused := signedRequestIn(r)
	if refused != nil {
		return nil, refused
	}
	payload, err := signature.ReadRequest(text, secrets)
	if err != nil {
		return nil, errWrongRequest(err.Error())
	}
	return &verified{http.StatusOK, payload}, nil
}

// maxSignedForm is the size of the largest form with a signed request, in bytes.
const maxSignedForm = 64 << 10

// signedRequestIn returns the field of a form, or the error if there is not exactly one. The query
// must not have such a parameter, because another server could read that one.
func signedRequestIn(r *http.Request) (text string, refused *graph.Error) {
	const field = "signed_request"
	if r.ContentLength > maxSignedForm || len(r.Header["Content-Type"]) != 1 || r.URL.Query().Has(field) {
		return "", errSignedForm
	}
	r.Body = http.MaxBytesReader(nil, r.Body, maxSignedForm)
	err := r.ParseForm() // ParseMultipartForm hides its error
	if err == nil {
		err = r.ParseMultipartForm(maxSignedForm)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "", errSlowBody
	case err != nil && !errors.Is(err, http.ErrNotMultipart), r.MultipartForm != nil && len(r.MultipartForm.File) > 0:
		return "", errSignedForm
	}
	values := r.PostForm[field]
	if len(values) != 1 || values[0] == "" {
		return "", errSignedForm
	}
	return values[0], nil
}
