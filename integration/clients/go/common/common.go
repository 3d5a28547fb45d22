// Package common has what the Go clients share: their environment and the format of their output.
package common

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
)

// Result is the output of a client, which clients_test.go reads.
type Result struct {
	Short      string `json:"short,omitempty"`
	Long       string `json:"long"`
	ExpiresIn  int    `json:"expires_in"`
	Username   string `json:"username"`
	CodeError  string `json:"code_error,omitempty"`
	TokenError string `json:"token_error"`
	Note       string `json:"note,omitempty"`
}

// Env returns the value of an environment variable, which the test sets.
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

// Get requests JSON with a client that adds the token itself, decodes it into the value that into
// points to, and returns the status.
func Get(client *http.Client, base, path string, query url.Values, into any) int {
	res, err := client.Get(base + path + "?" + query.Encode())
	Must(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	Must(err)
	Must(json.Unmarshal(body, into))
	return res.StatusCode
}

// Rest does what follows a login: an exchange, a read, and an exchange that fails. The function as
// returns a client that adds the token to its requests.
func (g *Result) Rest(base string, as func(token string) *http.Client) {
	exchange := url.Values{"grant_type": {"ig_exchange_token"}}
	var long struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	Get(as(g.Short), base, "/access_token", exchange, &long)
	g.Long, g.ExpiresIn = long.AccessToken, long.ExpiresIn
	var me struct{ Username string }
	Get(as(g.Long), base, "/me", url.Values{"fields": {"id,username"}}, &me)
	g.Username = me.Username
	var failed struct {
		Error struct {
			Code    int
			Subcode int `json:"error_subcode"`
		}
	}
	status := Get(as(Env("BAD_TOKEN")), base, "/access_token", exchange, &failed)
	g.TokenError = fmt.Sprint(status, " ", failed.Error.Code, " ", failed.Error.Subcode)
}
