// golang.org/x/oauth2: the token URL is a member of Endpoint. The client it makes of a token sends it as a bearer's.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"golang.org/x/oauth2"

	"github.com/igproxy/igproxy/integration/clients/go/told"
)

func main() {
	ctx, base := context.Background(), told.Env("IGPROXY")
	config := oauth2.Config{
		ClientID:    told.Env("CLIENT_ID"),
		RedirectURL: told.Env("REDIRECT_URI"),
		Endpoint:    oauth2.Endpoint{AuthURL: "https://www.instagram.com/oauth/authorize", TokenURL: base + "/oauth/access_token"},
	}
	token, err := config.Exchange(ctx, told.Env("CODE"))
	told.Must(err)
	got := told.Got{Short: token.AccessToken, Note: fmt.Sprint(token.Extra("permissions"))}
	got.Rest(base, func(token string) *http.Client {
		return oauth2.NewClient(ctx, oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token}))
	})
	_, err = config.Exchange(ctx, told.Env("BAD_CODE"))
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		told.Must(fmt.Errorf("no RetrieveError: %v", err))
	}
	got.CodeError = fmt.Sprintf("%T %d %s", refused, refused.Response.StatusCode, refused.Body)
	got.Tell()
}
