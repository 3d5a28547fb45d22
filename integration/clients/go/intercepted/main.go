// Command intercepted is a client that uses net/http to call Meta's URLs. igproxy intercepts the
// calls. Only environment variables that Go itself reads configure the HTTP client: HTTPS_PROXY,
// SSL_CERT_FILE, and GODEBUG to turn HTTP/2 off.
package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"sync"

	"github.com/igproxy/igproxy/integration/clients/go/common"
)

type answer struct {
	AccessToken string `json:"access_token"`
	ID          string
}

func main() {
	var got struct {
		Short     string   `json:"short"`
		Long      []string `json:"long"`
		Refreshed string   `json:"refreshed"`
		UserID    string   `json:"user_id"`
		Protocol  string   `json:"protocol"`
	}
	read := func(res *http.Response, err error) (a answer) {
		common.Must(err)
		defer res.Body.Close()
		got.Protocol = res.Proto
		common.Must(json.NewDecoder(res.Body).Decode(&a))
		return a
	}
	get := func(path string, query url.Values) answer {
		return read(http.Get("https://graph.instagram.com" + path + "?" + query.Encode()))
	}
	got.Short = read(http.PostForm("https://api.instagram.com/oauth/access_token", url.Values{"client_id": {common.Env("CLIENT_ID")}, "client_secret": {"none"},
		"grant_type": {"authorization_code"}, "redirect_uri": {common.Env("REDIRECT_URI")}, "code": {common.Env("CODE")}})).AccessToken
	got.Long = make([]string, 2)
	var exchanges sync.WaitGroup
	var mu sync.Mutex // protects got
	for i := range got.Long {
		exchanges.Go(func() {
			res, err := http.Get("https://graph.instagram.com/access_token?" + url.Values{"grant_type": {"ig_exchange_token"}, "client_secret": {"none"}, "access_token": {got.Short}}.Encode())
			mu.Lock()
			defer mu.Unlock()
			got.Long[i] = read(res, err).AccessToken
		})
	}
	exchanges.Wait()
	got.Refreshed = get("/refresh_access_token", url.Values{"grant_type": {"ig_refresh_token"}, "access_token": {common.Env("REFRESH")}}).AccessToken
	got.UserID = get("/me", url.Values{"fields": {"id,username"}, "access_token": {got.Long[0]}}).ID
	common.Must(json.NewEncoder(os.Stdout).Encode(got))
}
