// goth's provider instagram: its URLs are constants, so its HTTPClient gets a transport that sends what is for Instagram's hosts to
// igproxy. The provider asks for the user at an API that Instagram closed in 2020; /me is asked with the same client instead.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/markbates/goth/providers/instagram"
	"golang.org/x/oauth2"

	"github.com/igproxy/igproxy/integration/clients/go/told"
)

// detour sends requests for Instagram's hosts to base.
type detour struct{ base *url.URL }

func (d detour) RoundTrip(r *http.Request) (*http.Response, error) {
	if host := r.URL.Host; host == "api.instagram.com" || host == "graph.instagram.com" {
		r = r.Clone(r.Context())
		r.URL.Scheme, r.URL.Host, r.URL.Path, r.Host = d.base.Scheme, d.base.Host, d.base.Path+r.URL.Path, ""
	}
	return http.DefaultTransport.RoundTrip(r)
}

func main() {
	base, err := url.Parse(told.Env("IGPROXY"))
	told.Must(err)
	provider := instagram.New(told.Env("CLIENT_ID"), "", told.Env("REDIRECT_URI"))
	provider.HTTPClient = &http.Client{Transport: detour{base}}

	session, err := provider.BeginAuth("state")
	told.Must(err)
	var got told.Got
	got.Short, err = session.Authorize(provider, url.Values{"code": {told.Env("CODE")}})
	told.Must(err)
	_, err = provider.FetchUser(session)
	got.Note = fmt.Sprint("FetchUser: ", err)

	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, provider.HTTPClient)
	got.Rest("https://graph.instagram.com", func(token string) *http.Client {
		return oauth2.NewClient(ctx, oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token}))
	})
	_, err = session.Authorize(provider, url.Values{"code": {told.Env("BAD_CODE")}})
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		told.Must(fmt.Errorf("no RetrieveError: %v", err))
	}
	got.CodeError = fmt.Sprintf("%T %d %s", refused, refused.Response.StatusCode, refused.Body)
	got.Tell()
}
