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

// igproxy has two calls of its own. They check what Meta signed with an app's secret, so that an
// app with webhooks does not need the secret. They skip the steps between decode and answer, and
// send nothing to Meta or Redis.

// ownPrefix is the beginning of the paths of igproxy's own calls. Meta has no such path.
const (
	ownSegment = "_igproxy"
	ownPrefix  = "/" + ownSegment + "/"
)

// verified is the response to one of igproxy's own calls, if what the client sent was signed with
// one of the app's secrets.
type verified struct {
	status  int
	payload []byte // the body, in JSON; empty: the response has no body
}

// ownCall is one of igproxy's own calls.
type ownCall struct {
	name   string // the end of the path; logs and metrics show it as the grant
	verify func(*requestState, *engine, *http.Request, []string) (*verified, *graph.Error)
}

// ownCalls are all of igproxy's own calls. Each is a POST.
var ownCalls = []ownCall{{"webhook", (*requestState).verifyWebhook}, {"signed_request", (*requestState).verifySignedRequest}}

// ownCall returns igproxy's own call that has the destination's path. It reports false if there is
// no such call.
func (t destination) ownCall() (c ownCall, ok bool) {
	i := slices.IndexFunc(ownCalls, func(c ownCall) bool { return strings.TrimSuffix(t.path, "/") == ownPrefix+c.name })
	if i < 0 {
		return ownCall{}, false
	}
	return ownCalls[i], true
}

// verify sets x.signed to the response to a call below ownPrefix, or sets x.err. Then it drops what
// is left of the body.
func (x *requestState) verify(e *engine, w http.ResponseWriter, r *http.Request, t destination) {
	r.Body = http.MaxBytesReader(w, r.Body, maxRead) // this reader repeats its error, so dropRest sees the error too
	x.decide(e, r, t)
	if x.last && dropRest(w, r) {
		x.last = lastAfterDrop(r)
	}
}

// maxRead bounds how many bytes of a body are read, including the dropped ones.
const maxRead = 2 * signature.MaxWebhook

// dropRest reads and drops the rest of a body, so that the connection can stay open. It reports
// whether it reached the end of the body. It waits at most dropTime, and does not read a body that
// is announced as larger than signature.MaxWebhook. linger drops such a body after the response.
func dropRest(w http.ResponseWriter, r *http.Request) bool {
	// Reading a body after "Expect: 100-continue" would ask the client to send it.
	if r.ContentLength > signature.MaxWebhook || r.Header.Get("Expect") != "" {
		return false
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(dropTime)) // the server supports deadlines
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return false
	}
	_ = control.SetReadDeadline(time.Time{})
	return true
}

// decide sets x.signed or x.err for verify. It may leave a part of the body unread.
func (x *requestState) decide(e *engine, r *http.Request, t destination) {
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
	x.signed, x.err = c.verify(x, e, r, a.signingSecrets())
}

// signingSecrets returns the secrets with which Meta may sign what it sends to the app.
func (a *app) signingSecrets() (texts []string) {
	for _, one := range a.signers {
		texts = append(texts, one.Reveal())
	}
	return texts
}

// verifyWebhook checks the signature of a webhook. The body streams through the hash and is not
// kept. It must arrive within the server's ReadTimeout.
func (x *requestState) verifyWebhook(_ *engine, r *http.Request, secrets []string) (*verified, *graph.Error) {
	w, err := signature.ReadWebhook(r.Header["X-Hub-Signature-256"], r.Header["X-Hub-Signature"])
	if err != nil {
		return nil, errUnsignedWebhook
	}
	if r.ContentLength > signature.MaxWebhook { // checked first, because reading could ask the client to send the body
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

// verifySignedRequest checks the signed request in the form, and returns its payload.
func (x *requestState) verifySignedRequest(e *engine, r *http.Request, secrets []string) (*verified, *graph.Error) {
	text, refused := signedRequestIn(r, e.large)
	if refused != nil {
		return nil, refused
	}
	payload, err := signature.ReadRequest(text, secrets)
	if err != nil {
		return nil, errWrongRequest(err.Error())
	}
	return &verified{http.StatusOK, payload}, nil
}

// maxSignedForm bounds the size of a form with a signed request, in bytes.
const maxSignedForm = 64 << 10

// signedRequestIn returns the form field signed_request. It refuses a form that does not have this
// field exactly once. It also refuses a request with this parameter in the query, because the app
// might read the query instead. For large, see readParams.
func signedRequestIn(r *http.Request, large chan struct{}) (text string, refused *graph.Error) {
	const field = "signed_request"
	if r.ContentLength > maxSignedForm || len(r.Header["Content-Type"]) != 1 || r.URL.Query().Has(field) {
		return "", errSignedForm
	}
	limited := &largeBody{ReadCloser: r.Body, large: large, left: smallBody + 1}
	defer limited.end()
	r.Body = http.MaxBytesReader(nil, limited, maxSignedForm)
	err := r.ParseForm() // called first, because ParseMultipartForm hides the error of ParseForm
	if err == nil {
		err = r.ParseMultipartForm(maxSignedForm)
	}
	switch {
	case errors.Is(err, errTooManyLarge):
		return "", errLargeBodies()
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
