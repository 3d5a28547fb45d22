package mock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// deliveryTime is how long the receiver of a webhook may take.
const deliveryTime = 10 * time.Second

// serveWebhook delivers a webhook to ?to=URL, which must be on this machine. Its response is a JSON
// object with the status that the receiver returned. The webhook is signed with the secret of the
// Instagram app, or of the app in ?app=.
func (i *Instagram) serveWebhook(w http.ResponseWriter, r *http.Request) {
	secret, err := i.signingSecret(r.FormValue("app"))
	if err != nil {
		writeMember(w, http.StatusBadRequest, "error", err.Error())
		return
	}
	to, err := url.Parse(r.FormValue("to"))
	if err != nil || to.Scheme != "http" || !loopback(to.Hostname()) {
		writeMember(w, http.StatusBadRequest, "error", "the parameter to must be an http URL on 127.0.0.1, [::1] or localhost")
		return
	}
	status, err := deliver(r.Context(), to, secret, Webhook())
	if err != nil {
		writeMember(w, http.StatusBadGateway, "error", "the webhook was not delivered: "+err.Error())
		return
	}
	writeMember(w, http.StatusOK, "status", status)
}

// serveSignedRequest answers with a signed request about the user in ?user_id=. The default is the
// only user whom the stand-in has for the app.
func (i *Instagram) serveSignedRequest(w http.ResponseWriter, r *http.Request) {
	secret, err := i.signingSecret(r.FormValue("app"))
	if err != nil {
		writeMember(w, http.StatusBadRequest, "error", err.Error())
		return
	}
	user := r.FormValue("user_id")
	if user == "" {
		user = familyNamed(r.FormValue("app")).user
	}
	writeMember(w, http.StatusOK, "signed_request", SignedRequest(secret, Deauthorization(user)))
}

// signingSecret returns the first client secret of the app with this name, such as "facebook".
func (i *Instagram) signingSecret(app string) (string, error) {
	f := familyNamed(app)
	if f == nil {
		return "", errors.New(badApp)
	}
	secrets := i.app(f).secrets()
	if len(secrets) == 0 {
		return "", fmt.Errorf("the %s app has no client secret to sign with: set one with POST /__secret", f.name)
	}
	return secrets[0], nil
}

// loopback reports whether a host is localhost or a loopback address.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// deliver posts a webhook and returns the status of the response.
func deliver(ctx context.Context, to *url.URL, secret string, body []byte) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, deliveryTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header = SignWebhook(secret, body)
	transport := &http.Transport{DisableKeepAlives: true} // no proxy, and no redirects
	res, err := transport.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}
