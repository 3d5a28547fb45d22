package config

// config.example.yaml, docs/configuration.md and docs/config.schema.json are generated from the
// table of settings. This file has the parts that the generators share.

import (
	"flag"
	"os"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write config.example.yaml, docs/configuration.md and docs/config.schema.json")

func TestGeneratedFilesAreUpToDate(t *testing.T) {
	for path, want := range map[string]string{examplePath: exampleYAML(t), referencePath: referenceMD(), schemaPath: schemaJSON(t)} {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s is not up to date (error: %v); run: go test ./cmd/igproxy/internal/config -run TestGenerated -update", path, err)
		}
	}
}

// sectionDocs introduce each section.
var sectionDocs = map[string]string{
	"":            "Where apps reach the sidecar, and the credentials of one Instagram app.",
	"auth":        "Who may use igproxy. By default, every program on this machine may use it. If other machines can reach a listener for apps, igproxy does not start unless auth.bearer_file or auth.client_ca is set, or auth.none is true.",
	"tls":         "TLS for apps. Without a certificate, igproxy speaks plain HTTP.",
	"admin":       "The listener for operators and orchestrators. Reading from it requires no authentication, so make sure that only operators and orchestrators can reach it. It shows no secret.",
	"intercept":   "An HTTP proxy for clients that cannot change their base URL. It intercepts calls to the hosts of each service that has an app, such as graph.facebook.com.",
	"upstream":    "Calls to Meta, and their limits.",
	"threads":     "A Threads app, which has its own ID and secret. Its calls have the same paths as Instagram's.",
	"facebook":    "An app of Facebook Login, whose calls go to graph.facebook.com. Its app_id is required.",
	"refresh":     "Calls to GET /refresh_access_token, which refresh a long-lived token.",
	"code":        "Calls to /oauth/access_token that exchange the code of a login. igproxy adds the app's secret to them.",
	"keep":        "The refresh of long-lived tokens, which otherwise end after 60 days.",
	"debug_token": "Calls to /debug_token, which inspect a token. Facebook and Threads accept them only with the app's own token.",
	"passthrough": "All other calls of an app. igproxy passes them through to Meta, so an app needs only one base URL.",
	"cache":       "What is cached, and for how long.",
	"redis":       "A second tier of the cache. Several sidecars can share it, and its entries survive a restart of igproxy. Values are sealed. igproxy starts and serves calls even while it cannot reach Redis. But with keep.enabled, Redis must not lose its data: see docs/keep.md.",
	"coalesce":    "How sidecars on the same Redis share an exchange. Without redis.mode, exchanges are shared within this process only.",
	"breaker":     "The circuit breaker. After repeated failures, igproxy makes no token calls to Meta for a while. During this time cached tokens are still served, and calls with other tokens get a fast 503.",
	"server":      "Limits for requests from apps.",
	"log":         "The log, on standard error: one line per request, up to the limit in log.lines. No line contains a secret or a token.",
}

// appsDoc describes the list of apps, whose rows are in appSettings.
const appsDoc = "Several apps in one sidecar. The list replaces app_id, client_secret, client_secret_file, webhook_secret_file and redirect_uris. The path (/apps/shop/...) says which app a call belongs to. A token call without such a path belongs to the app that its grant_type fits. If its grant_type fits several apps, its client_id or Host header must select one of them; otherwise igproxy refuses the call. A passed-through call without such a path belongs to the app whose app_id is the call's client_id, otherwise to the app whose hosts include the call's Host name, otherwise to the first app. If the Host header names one of Meta's hosts, a call without such a path can belong only to an app of that host's service. Apps share no tokens."

// sectionOf splits a key into its section and its name in that section. The section of a top-level
// key is empty.
func (s setting) sectionOf() (section, name string) {
	section, name, nested := strings.Cut(s.key, ".")
	if !nested {
		return "", s.key
	}
	return section, name
}

// spanSentence returns the allowed values as a sentence. Do not call it for texts and lists.
func (s setting) spanSentence() string {
	rangeText := s.rangeText()
	if s.kind == kindWord {
		rangeText = "one of " + rangeText
	}
	return strings.ToUpper(rangeText[:1]) + rangeText[1:] + "."
}

// defaultText returns the default of a setting as YAML, or "" if it has none.
func defaultText(s setting) string {
	if strings.HasSuffix(s.key, "socket_mode") { // other YAML parsers would read a number
		return strconv.Quote(s.value)
	}
	return s.value
}
