package admin_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/proxy"
	"github.com/igproxy/igproxy/proxy/admin"
	"github.com/igproxy/igproxy/proxy/graph"
)

const form = "application/x-www-form-urlencoded"

// purge posts a body as the operator.
func purge(t *testing.T, h http.Handler, target, contentType, body string) (status int, response admin.PurgeResponse) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	w := send(h, byOperator(r))
	decode(t, w, &response)
	return w.Code, response
}

func TestPurgeUsesTheAppAndTokenOfTheForm(t *testing.T) {
	i, base := newInstagram(t)
	o := optionsFor(t, base)
	o.Apps = []proxy.App{{Label: "one", ID: "1", Secret: proxy.NewSecret(appSecret)}, {Label: "two", ID: "2", Secret: proxy.NewSecret(appSecret)}}
	p := newProxy(t, o)
	var log bytes.Buffer
	h := newHandler(t, admin.Options{Proxy: p, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	known := func(app, token string) bool {
		before := i.Calls()
		_ = get(p, "/apps/"+app+exchange(token))
		return i.Calls() == before
	}
	for _, c := range []struct {
		body   string
		purged string
		apps   []string
		known  map[string]bool // by app and token: whether the token is still known after the purge
	}{
		{"access_token=IGAA-a&app=one", "token", []string{"one"}, map[string]bool{"one IGAA-a": false, "one IGAA-b": true, "two IGAA-a": true}},
		{"access_token=IGAA-a%23_", "token", []string{"one", "two"}, map[string]bool{"one IGAA-a": false, "two IGAA-a": false, "two IGAA-b": true}},
		{"app=two", "all", []string{"two"}, map[string]bool{"one IGAA-b": true, "two IGAA-a": false, "two IGAA-b": false}},
		{"", "all", []string{"one", "two"}, map[string]bool{"one IGAA-b": false, "two IGAA-b": false}},
	} {
		for _, app := range []string{"one", "two"} {
			known(app, "IGAA-a")
			known(app, "IGAA-b")
		}
		status, response := purge(t, h, "/purge", form, c.body)
		entries := map[string]int{"app=two": 2, "": 4}
		if n, counted := entries[c.body]; counted != (response.Entries != nil) || counted && *response.Entries != n {
			text, _ := json.Marshal(response)
			t.Errorf("%s: got %s, want the number of entries that this map has for the body, or no number if the body is not in the map: %v", c.body, text, entries)
		}
		if status != 200 || response.Purged != c.purged || !slices.Equal(response.Apps, c.apps) || response.Fleet != "none" || response.Problem != "" {
			t.Errorf("%s: got %d %+v, want 200, purged %q, apps %q, fleet none and no problem", c.body, status, response, c.purged, c.apps)
		}
		for of, want := range c.known {
			if app, token, _ := strings.Cut(of, " "); known(app, token) != want {
				t.Errorf("%s: is %s still known? got %v, want %v", c.body, of, !want, want)
			}
		}
	}
	if n := strings.Count(log.String(), "msg=purged"); n != 4 || strings.Contains(log.String(), "IGAA") {
		t.Errorf("got %d lines with msg=purged, want 4; want no token in the log:\n%s", n, log.String())
	}
}

func TestAmbiguousPurgePurgesNothing(t *testing.T) {
	i, base := newInstagram(t)
	p := newProxy(t, optionsFor(t, base))
	h := handlerOf(t, p)
	_ = get(p, exchange("IGAA-a"))
	long := strings.Repeat("a", graph.MaxToken+1)
	for name, c := range map[string]struct {
		target, kind, body string
		want               int
	}{
		"the token in the URL":                 {"/purge?access_token=IGAA-a", form, "", 400},
		"the app in the URL":                   {"/purge?app=default", form, "", 400},
		"an empty token":                       {"/purge", form, "access_token=", 400},
		"access_token without an equals sign":  {"/purge", form, "access_token", 400},
		"a space as the token":                 {"/purge", form, "access_token=+", 400},
		"a token that is too long":             {"/purge", form, "access_token=" + long, 400},
		"two tokens":                           {"/purge", form, "access_token=IGAA-a&access_token=IGAA-b", 400},
		"an empty app":                         {"/purge", form, "app=", 400},
		"an empty app beside a token":          {"/purge", form, "access_token=IGAA-a&app=", 400},
		"two apps":                             {"/purge", form, "app=default&app=other", 400},
		"a misspelt field name for the token":  {"/purge", form, "acces_token=IGAA-b", 400},
		"a misspelt field name for the app":    {"/purge", form, "apps=other", 400},
		"a known field and an unknown one":     {"/purge", form, "app=default&token=IGAA-b", 400},
		"a form that cannot be read":           {"/purge", form, "access_token=%zz", 400},
		"a form that is too long":              {"/purge", form, "x=" + strings.Repeat("a", 4*graph.MaxToken), 400},
		"JSON":                                 {"/purge", "application/json", `{"access_token":"IGAA-b"}`, 400},
		"JSON with the Content-Type of a form": {"/purge", form, `{"access_token":"IGAA-b"}`, 400},
		"multipart":                            {"/purge", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"app\"\r\n\r\nother\r\n--x--\r\n", 400},
		"a form with the Content-Type of text": {"/purge", "text/plain", "app=other", 400},
		"a form without a Content-Type":        {"/purge", "", "app=other", 400},
		"an unknown app":                       {"/purge", form, "app=unknown", 422},
	} {
		code, response := purge(t, h, c.target, c.kind, c.body)
		if code != c.want || response.Purged != "nothing" || response.Problem == "" || strings.Contains(response.Problem, "IGAA") {
			t.Errorf("%s: got %d %+v, want %d, nothing purged, and a problem without a token", name, code, response, c.want)
		}
		if w := get(p, exchange("IGAA-a")); w.Code != 200 || i.Calls() != 1 {
			t.Errorf("%s: got status %d for the next exchange, want 200; got %d calls to Meta in all, want 1", name, w.Code, i.Calls())
		}
	}
}
