// Command goth-facebook uses goth's provider for Facebook. The provider's URLs are constants, so
// this program gives it an HTTPClient whose transport sends requests for Facebook's host to
// igproxy. When the provider reads the user, it adds an appsecret_proof that it has made with its
// placeholder secret. igproxy replaces this proof.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/markbates/goth/providers/facebook"
	"golang.org/x/oauth2"

	"github.com/igproxy/igproxy/integration/clients/go/common"
)

func main() {
	provider := facebook.New(common.Env("CLIENT_ID"), "none", common.Env("REDIRECT_URI"))
	provider.HTTPClient = common.Detour("graph.facebook.com")

	session, err := provider.BeginAuth("state")
	common.Must(err)
	var got common.Result
	got.Short, err = session.Authorize(provider, url.Values{"code": {common.Env("CODE")}})
	common.Must(err)
	user, err := provider.FetchUser(session)
	common.Must(err)
	got.UserID = user.UserID

	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, provider.HTTPClient)
	got.Extend("https://graph.facebook.com", func(token string) *http.Client {
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
