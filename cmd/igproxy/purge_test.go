package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/proxy/admin"
)

func TestPurgeReadsExactlyOneTokenFromStandardInput(t *testing.T) {
	for text, want := range map[string]string{"IGAAshort": "IGAAshort", "IGAAshort\n": "IGAAshort", " IGAAshort \r\n": "IGAAshort"} {
		if got, err := readToken(strings.NewReader(text)); err != nil || got != want {
			t.Errorf("%q: got %q (error %v), want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"", "\n", "one two", "one\ntwo", strings.Repeat("a", maxStdin+1)} {
		if got, err := readToken(strings.NewReader(text)); err == nil {
			t.Errorf("%.20q: got the token %.20q, want an error", text, got)
		}
	}
	var out, errs bytes.Buffer
	code := run(context.Background(), []string{"igproxy", "purge", "IGAA-in-the-process-list"}, environment{stdout: &out, stderr: &errs, environ: withSecret})
	if code != exitUsage || !strings.Contains(errs.String(), "purge takes no argument") {
		t.Errorf("a token as an argument: exit code %d, want 2: %s", code, errs.String())
	}
}

func TestPurgePrintsWhatItPurgedAndWhere(t *testing.T) {
	for want, response := range map[string]admin.PurgeResponse{
		"purged: everything for apps \"one\", \"two\"; the other sidecars on this Redis forget within seconds\n": {Purged: "all", Apps: []string{"one", "two"}, Fleet: "notified"},
		"purged: everything for app \"one\" (entries in this sidecar's memory: 62)\n":                            {Purged: "all", Apps: []string{"one"}, Fleet: "none", Entries: new(62)},
		"purged: the token for app \"one\"\n":                                                                    {Purged: "token", Apps: []string{"one"}, Fleet: "none"},
		"the same purge ran less than ten seconds ago, so this one takes effect in 7 s\n":                        {Purged: "later", InSeconds: 7, Fleet: "none"},
	} {
		var out bytes.Buffer
		if err := printPurge(response, &out); err != nil || out.String() != want {
			t.Errorf("got %q (error %v), want %q", out.String(), err, want)
		}
	}
	for want, response := range map[string]admin.PurgeResponse{
		"nothing was purged: no app has this name":                    {Purged: "nothing", Problem: "no app has this name"},
		"purged everything for app \"one\", but only in this sidecar": {Purged: "all", Apps: []string{"one"}, Fleet: "not notified", Problem: "redis: refused"},
	} {
		var out bytes.Buffer
		if err := printPurge(response, &out); err == nil || !strings.Contains(err.Error(), want) || out.Len() > 0 {
			t.Errorf("got the error %v, want %q; got the output %q, want no output", err, want, out.String())
		}
	}
}

func TestAPurgeWhoseAppNameIsEmptySendsNothing(t *testing.T) {
	var asked []string
	at := serveAdmin(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = append(asked, string(body))
		_, _ = w.Write([]byte(`{"purged":"all","apps":["one"],"fleet":"none"}`))
	})
	for _, args := range [][]string{{"purge", "--app", ""}, {"purge", "--app="}} {
		if code, _, errs := command(t, at, args...); code != exitUsage || !strings.Contains(errs, "--app: write the app's name") || len(asked) > 0 {
			t.Errorf("%q: exit code %d, want 2; sent %q, want no request\n%s", args, code, asked, errs)
		}
	}
	for want, args := range map[string][]string{"": {"purge", "--all"}, "app=one": {"purge", "--app", "one"}} {
		asked = nil
		if code, _, errs := command(t, at, args...); code != 0 || len(asked) != 1 || asked[0] != want {
			t.Errorf("%q: exit code %d, want 0; sent %q, want %q\n%s", args, code, asked, want, errs)
		}
	}
}

// A purge without --app or --token-stdin reaches every app of the whole fleet.
func TestAPurgeOfEverythingNeedsConfirmation(t *testing.T) {
	asked := 0
	at := serveAdmin(t, func(w http.ResponseWriter, _ *http.Request) {
		asked++
		_, _ = w.Write([]byte(`{"purged":"all","apps":["one"],"fleet":"none","entries":3}`))
	})
	for _, c := range []struct {
		args        []string
		interactive bool
		answer      string
		code, asked int
		says        string
	}{
		{nil, false, "y\n", exitUsage, 0, "confirm that with --all"},
		{nil, true, "", exitFailed, 0, "nothing was purged"},
		{nil, true, "\n", exitFailed, 0, "nothing was purged"},
		{nil, true, "no\n", exitFailed, 0, "nothing was purged"},
		{nil, true, "Yes\n", exitOK, 1, "Continue? [y/N] purged: everything for app \"one\" (entries in this sidecar's memory: 3)"},
		{[]string{"--all"}, false, "", exitOK, 1, "purged: everything"},
		{[]string{"--all", "--app", "one"}, true, "y\n", exitUsage, 0, "--all purges everything"},
		{[]string{"--all", "--token-stdin"}, true, "IGAA\n", exitUsage, 0, "--all purges everything"},
	} {
		asked = 0
		var out bytes.Buffer
		code := run(t.Context(), append([]string{"igproxy", "purge"}, c.args...),
			environment{stdin: strings.NewReader(c.answer), stdout: &out, stderr: &out, environ: at, interactive: c.interactive})
		if code != c.code || asked != c.asked || !strings.Contains(out.String(), c.says) {
			t.Errorf("%q, answer %q: exit code %d, want %d; %d purges, want %d\n%s\nwant %s", c.args, c.answer, code, c.code, asked, c.asked, &out, c.says)
		}
	}
}
