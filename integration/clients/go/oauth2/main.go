// Command oauth2 uses golang.org/x/oauth2. The token URL is a field of Endpoint. The HTTP client
// that the library makes for a token sends the token as Authorization: Bearer.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"golang.org/x/oauth2"

	"github.com/igproxy/igproxy/integration/clients/go/common"
)

func main() {
	ctx, base := context.Background(), common.Env("IGPROXY")
	config := oauth2.Config{
		ClientID:    common.Env("CLIENT_ID"),
		RedirectURL: common.Env("REDIRECT_URI"),
		Endpoint:    oauth2.Endpoint{AuthURL: "https://www.instagram.com/oauth/authorize", TokenURL: base + "/oauth/access_token"},
	}
	token, err := config.Exchange(ctx, common.Env("CODE"))
	common.Must(err)
	got := common.Result{Short: token.AccessToken, Note: fmt.Sprint(token.Extra("permissions"))}
	got.Rest(base, func(token string) *http.Client {
		return oauth2.NewClient(ctx, oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token}))
	})
	_, err = config.Exchange(ctx, common.Env("BAD_CODE"))
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		common.Must(fmt.Errorf("used code: got the error %v, want an oauth2.RetrieveError", err))
	}
	got.CodeError = fmt.Sprintf("%T %d %s", refused, refused.Response.StatusCode, refused.Body)
	got.Print()
}
