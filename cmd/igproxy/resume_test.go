package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestResumePrintsWhichAppsWerePaused(t *testing.T) {
	for name, c := range map[string]struct {
		args       []string
		status     int
		response   string
		asked      string
		code       int
		says, errs string
	}{
		"one app was paused": {[]string{"resume"}, 200, `{"resumed":[{"app":"shop","since":"2026-11-27T12:00:00Z","until":"2026-11-27T12:05:00Z","code":4}]}`, "", 0,
			`resumed: app "shop", which was paused at `, ""},
		"an app that was not paused": {[]string{"resume", "--app", "shop"}, 200, `{"resumed":[]}`, "app=shop", 0, "app \"shop\" was not paused\n", ""},
		"an unknown app":             {[]string{"resume", "--app", "other"}, 422, `{"resumed":[],"problem":"no app has this name"}`, "app=other", exitFailed, "", "nothing was resumed: no app has this name"},
		"an empty name":              {[]string{"resume", "--app="}, 200, `{}`, "nothing", exitUsage, "", "--app: write the app's name"},
		"an argument":                {[]string{"resume", "shop"}, 200, `{}`, "nothing", exitUsage, "", "resume takes no argument"},
	} {
		asked := "nothing"
		at := serveAdmin(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if asked = string(body); r.Method != http.MethodPost || r.URL.Path != "/resume" {
				t.Errorf("%s: got %s %s, want POST /resume", name, r.Method, r.URL)
			}
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.response)
		})
		code, out, errs := command(t, at, c.args...)
		if code != c.code || asked != c.asked || !strings.HasPrefix(out, c.says) || (out == "") != (c.says == "") || !strings.Contains(errs, c.errs) {
			t.Errorf("%s: exit code %d, want %d; sent %q, want %q\n%s%swant %s%s", name, code, c.code, asked, c.asked, out, errs, c.says, c.errs)
		}
	}
}
