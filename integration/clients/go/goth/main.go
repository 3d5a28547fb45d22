// Command goth uses goth's provider for Instagram. The provider's URLs are constants, so this
// program gives it an HTTPClient whose transport sends requests for Instagram's hosts to igproxy.
// The provider fetches the user from an API that Instagram shut down in 2020. So this program
// reports the error of FetchUser, and reads /me itself through the same transport.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/markbates/goth/providers/instagram"
	"golang.org/x/oauth2"

	"github.com/igproxy/igproxy/integration/clients/go/common"
)

func main() {
	provider := instagram.New(common.Env("CLIENT_ID"), "", common.Env("REDIRECT_URI"))
	provider.HTTPClient = common.Detour("api.instagram.com", "graph.instagram.com")

	session, err := provider.BeginAuth("state")
	common.Must(err)
	var got common.Result
	got.Short, err = session.Authorize(provider, url.Values{"code": {common.Env("CODE")}})
	common.Must(err)
	_, err = provider.FetchUser(session)
	got.Note = fmt.Sprint("FetchUser: ", err)

	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, provider.HTTPClient)
	got.Rest("https://graph.instagram.com", func(token string) *http.Client {
		return oauth2.NewClient(ctx, oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token}))
	})
	_, err = session.Authorize(provider, url.Values{"code": {common.Env("BAD_CODE")}})
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		common.Must(fmt.Errorf("used code: got the error %v, want an oauth2.RetrieveError", err))
	}
	got.CodeError = fmt.Sprintf("%T %d %s", refused, refused.Response.StatusCode, refused.Body)
	got.Print()
}
