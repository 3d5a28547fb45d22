// Package common has what the Go clients share: their environment, the calls that follow a login,
// and the format of their output.
package common

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
)

// Result is the output of a client, which clients_test.go reads.
type Result struct {
	Short      string `json:"short,omitempty"`
	Long       string `json:"long"`
	ExpiresIn  int    `json:"expires_in"`
	UserID     string `json:"user_id"`
	CodeError  string `json:"code_error,omitempty"`
	TokenError string `json:"token_error"`
	Note       string `json:"note,omitempty"`
}

// Env returns the value of an environment variable that the test sets.
func Env(name string) string { return os.Getenv(name) }

// Must ends the program if err is not nil.
func Must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Print writes the result to the standard output.
func (g Result) Print() { Must(json.NewEncoder(os.Stdout).Encode(g)) }

// Get makes a GET request, stores the JSON of the response in the value that v points to, and
// returns the status. The HTTP client adds the token to the request.
func Get(client *http.Client, base, path string, query url.Values, v any) int {
	res, err := client.Get(base + path + "?" + query.Encode())
	Must(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	Must(err)
	Must(json.Unmarshal(body, v))
	return res.StatusCode
}

// Detour returns an HTTP client that sends requests for the given hosts to igproxy. Libraries whose
// URLs are constants need such a client.
func Detour(hosts ...string) *http.Client {
	base, err := url.Parse(Env("IGPROXY"))
	Must(err)
	return &http.Client{Transport: detour{base, hosts}}
}

type detour struct {
	base  *url.URL
	hosts []string
}

func (d detour) RoundTrip(r *http.Request) (*http.Response, error) {
	if slices.Contains(d.hosts, r.URL.Host) {
		r = r.Clone(r.Context())
		r.URL.Scheme, r.URL.Host, r.URL.Path, r.Host = d.base.Scheme, d.base.Host, d.base.Path+r.URL.Path, ""
	}
	return http.DefaultTransport.RoundTrip(r)
}

// longLived is the answer to an exchange.
type longLived struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int    `json:"expires_in"`
}

// failure is an error response of Meta.
type failure struct {
	Error struct {
		Code    int
		Subcode int `json:"error_subcode"`
	}
}

func (f *failure) text(status int) string {
	return fmt.Sprint(status, " ", f.Error.Code, " ", f.Error.Subcode)
}

// Rest makes the calls that follow an Instagram login: an exchange, a read, and an exchange that
// fails. clientFor returns an HTTP client that adds a token to its requests.
func (g *Result) Rest(base string, clientFor func(token string) *http.Client) {
	exchange := url.Values{"grant_type": {"ig_exchange_token"}}
	var long longLived
	Get(clientFor(g.Short), base, "/access_token", exchange, &long)
	g.Long, g.ExpiresIn = long.AccessToken, long.ExpiresIn
	var me struct{ ID string }
	Get(clientFor(g.Long), base, "/me", url.Values{"fields": {"id,username"}}, &me)
	g.UserID = me.ID
	var failed failure
	g.TokenError = failed.text(Get(clientFor(Env("BAD_TOKEN")), base, "/access_token", exchange, &failed))
}

// Extend makes the calls that follow a Facebook login: an exchange of the short-lived token, and an
// exchange that fails. If g.UserID is empty, Extend also reads the user. clientFor returns an HTTP
// client that adds a token to its requests.
func (g *Result) Extend(base string, clientFor func(token string) *http.Client) {
	exchange := func(token string) url.Values {
		return url.Values{"grant_type": {"fb_exchange_token"}, "client_id": {Env("CLIENT_ID")}, "fb_exchange_token": {token}}
	}
	var long longLived
	Get(clientFor(g.Short), base, "/oauth/access_token", exchange(g.Short), &long)
	g.Long, g.ExpiresIn = long.AccessToken, long.ExpiresIn
	if g.UserID == "" {
		var me struct{ ID string }
		Get(clientFor(g.Long), base, "/v23.0/me", url.Values{"fields": {"id,name"}}, &me)
		g.UserID = me.ID
	}
	var failed failure
	bad := Env("BAD_TOKEN")
	g.TokenError = failed.text(Get(clientFor(bad), base, "/oauth/access_token", exchange(bad), &failed))
}
