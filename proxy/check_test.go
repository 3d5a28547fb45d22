package proxy

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
	"github.com/igproxy/igproxy/proxy/mock"
)

func TestCheckOnlineNamesTheProblemAndTheFix(t *testing.T) {
	i, s := newInstagram(t, overTLS)
	_, stranger := newInstagram(t, overTLS)
	_, expired := newInstagram(t, mock.ServerOptions{TLS: true, Expired: true})
	envelope := func(status, code int, message string) string {
		e := graph.Error{Status: status, Code: code, Message: message, Type: "OAuthException"}
		return rawResponse(status, string(e.Encode()))
	}
	said := func(answer string) string { base, _ := saying(t, answer); return base }
	for name, c := range map[string]struct {
		base  string
		spoil func(*Options)
		want  string // "": no error
	}{
		"ok":              {s.URL, nil, ""},
		"wrong secret":    {s.URL, func(o *Options) { o.Apps[0].Secret = NewSecret("canary-of-a-secret") }, "refuses the client secret"},
		"no secret":       {s.URL, func(o *Options) { o.Apps[0].Secret = Secret{} }, "client secret"},
		"unknown CA":      {s.URL, func(o *Options) { o.UpstreamCAs = stranger.CA() }, "tls: unknown authority"},
		"expired":         {expired.URL, func(o *Options) { o.UpstreamCAs = expired.CA() }, "tls: invalid certificate"},
		"nothing listens": {deadURL(t), nil, "could not reach Meta (refused); check the network"},
		"silent":          {mute(t), func(o *Options) { o.Timeout = 50 * time.Millisecond }, "no answer from Meta in time"},
		"wrong path":      {s.URL + "/v23.0/x", nil, "URL and its path"},
		"no URL":          {"", nil, "upstream url"},
		"timeout of zero": {s.URL, func(o *Options) { o.Timeout = 0 }, "upstream timeout"},
		"app limit":       {said(envelope(403, 4, "m")), nil, "rate limited"},
		"user limit":      {said(envelope(400, 17, "m")), nil, "rate limited"},
		"no access":       {said(envelope(400, 100, "Unsupported request - method type: get")), nil, "no access to this account"},
		"a permission":    {said(envelope(403, 10, "m")), nil, "10/0"},
		"a token issued":  {said(rawResponse(200, goodToken)), nil, "in exchange for an invalid one"},
		"Instagram down":  {said(envelope(500, 2, "m")), nil, "Meta answered with an error"},
		"a web page":      {said(rawResponse(http.StatusOK, "<html>")), nil, "not one JSON object"},
	} {
		o := optionsFor(t, c.base, s.CA())
		if c.base == "" {
			o.UpstreamURL = nil
		}
		if c.spoil != nil {
			c.spoil(&o)
		}
		err := firstProblem(CheckOnline(t.Context(), o))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: got %v, want no error", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want an error that contains %q", name, err, c.want)
		case err != nil && strings.Contains(err.Error(), "Retry"):
			t.Errorf("%s: got %v, want nothing about Retry-After, which is not shown on a command line", name, err)
		case err != nil && (strings.Contains(err.Error(), testSecret) || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), checkToken)):
			t.Errorf("%s: got %v, want an error without a secret and without the token", name, err)
		}
	}
	if strange := i.Strange(); len(strange) != 1 { // the request with the wrong path
		t.Errorf("requests that igproxy must not send: got %v, want only the request with the wrong path", strange)
	}
}

// If igproxy's own call comes back to igproxy, the response has code 100. From Meta, this code
// means that the app has no access to the account, so CheckOnline must tell the two apart.
func TestCheckOnlineSaysThatItsCallCameBackToIgproxy(t *testing.T) {
	for name, service := range map[string]Service{"Instagram": Instagram, "Facebook": Facebook} {
		base, _ := saying(t, rawResponse(http.StatusBadRequest, string(errLoop.Encode())))
		o := optionsFor(t, base, nil)
		o.Apps = []App{{Label: "app", Service: service, ID: pagesID, Secret: NewSecret(pagesSecret), RedirectURIs: []string{callback}}}
		o.FacebookURL = o.UpstreamURL
		results, err := CheckOnline(t.Context(), o)
		if err != nil || len(results) != 2 {
			t.Fatalf("%s: got the results %v and the error %v, want two results and no error", name, results, err)
		}
		for _, result := range results {
			if result.Err == nil || !strings.Contains(result.Err.Error(), "hosts file") || strings.Contains(result.Err.Error(), "tester") {
				t.Errorf("%s: got %v, want an error with \"hosts file\" and without \"tester\"", name, result.Err)
			}
		}
	}
}

func TestCheckOnlineEndsWithItsContext(t *testing.T) {
	ctx, cancel := withEnded(t)
	defer cancel()
	err := firstProblem(CheckOnline(ctx, optionsFor(t, mute(t), nil)))
	var e *graph.Error
	if err == nil || errors.As(err, &e) {
		t.Errorf("got %v, want an error other than a *graph.Error", err)
	}
}

// firstProblem returns CheckOnline's error or, if that is nil, the first problem in its results.
func firstProblem(results []CheckResult, err error) error {
	for _, p := range results {
		if err == nil {
			err = p.Err
		}
	}
	return err
}

// Any server can answer {"error":"..."}, so such an answer does not prove that the server exchanges
// codes.
func TestCheckOnlineRequiresARefusalFromTheCodeExchange(t *testing.T) {
	w := newWorld(t)
	w.graph.say(400, `{"error":{"message":"m","type":"OAuthException","code":190}}`)
	o := optionsFor(t, w.graph.url.String(), nil)
	o.LoginURL, o.ThreadsURL = w.login.url, w.threads.url
	o.Apps = []App{{ID: shopID, Secret: NewSecret(w.igSecret), RedirectURIs: []string{callback}}}
	for body, right := range map[string]bool{
		`{"error_type":"OAuthException","code":400,"error_message":"m"}`: true,
		`{"error_type":"OAuthException","error_message":"m"}`:            true,
		`{"error_message":"m","error_code":1349245}`:                     true,
		`{"error":"Not found"}`:                                          false,
		`{"message":"Not found","code":404}`:                             false,
		`{"error":{"message":"m"}}`:                                      false,
		`<html>`:                                                         false,
	} {
		w.login.say(404, body)
		if err := firstProblem(CheckOnline(t.Context(), o)); (err == nil) != right || err != nil && !strings.Contains(err.Error(), "990025") {
			t.Errorf("%s: got the error %v, want success: %v; a failure must have the subcode 990025", body, err, right)
		}
	}
}

// After a failure, CheckOnline still tests the other apps and hosts.
func TestCheckOnlineTestsEveryAppAndTheHostThatExchangesCodes(t *testing.T) {
	w := newWorld(t)
	w.graph.say(400, `{"error":{"message":"Error validating client secret.","type":"OAuthException","code":100}}`)
	w.login.say(400, `{"error_type":"OAuthException","code":400,"error_message":"Matching code was not found or was already used"}`)
	w.threads.says = func(r *http.Request, _ url.Values) (int, string) {
		if r.Method == http.MethodPost {
			return 500, "<html>"
		}
		return 400, `{"error":{"message":"m","type":"OAuthException","code":190}}`
	}
	o := optionsFor(t, w.graph.url.String(), nil)
	o.LoginURL, o.ThreadsURL, o.Retries = w.login.url, w.threads.url, 0
	o.Apps = []App{{ID: shopID, Secret: NewSecret(w.igSecret), RedirectURIs: []string{callback}},
		{Label: "threads", Service: Threads, ID: clubID, Secret: NewSecret(w.threadSecret), RedirectURIs: []string{callback}}}
	results, err := CheckOnline(t.Context(), o)
	if err != nil || len(results) != 4 {
		t.Fatalf("got the results %v and the error %v, want four results and no error", results, err)
	}
	if want := "login host " + w.login.url.String() + " of app default"; results[1].Part != want {
		t.Errorf("the name of the second part: got %q, want %q", results[1].Part, want)
	}
	for i, want := range []bool{false, true, true, false} {
		if (results[i].Err == nil) != want || !strings.Contains(results[i].Part, " of app ") {
			t.Errorf("part %q: got the error %v, want success: %v; the name of the part must contain \" of app \"", results[i].Part, results[i].Err, want)
		}
	}
}
