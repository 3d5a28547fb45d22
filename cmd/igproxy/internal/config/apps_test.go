package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
)

// configOf loads a configuration from a folder that also has files with secrets. DIR in yaml stands
// for the path of the folder.
func configOf(t *testing.T, yaml string, environ ...string) (config.Config, []config.Problem) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"shop", "club"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("secret-of-"+name+"-0123456789"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "igproxy.yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(yaml, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load(path, environ)
}

const twoApps = "apps:\n  - name: shop\n    app_id: \"1\"\n    client_secret_file: DIR/shop\n    redirect_uris: [https://shop.example/callback]\n    hosts: [shop.internal]\n" +
	"  - name: club\n    service: threads\n    app_id: \"1\"\n    client_secret_file: DIR/club\n"

func TestSeveralAppsAreLoaded(t *testing.T) {
	c, problems := configOf(t, twoApps)
	if len(problems) > 0 {
		t.Fatalf("got the problems %v, want no problem", problems)
	}
	if len(c.Apps) != 2 || c.Apps[0].Name != "shop" || c.Apps[1].Service != "threads" || c.Apps[0].ClientSecret.Reveal() != "secret-of-shop-0123456789" ||
		c.Apps[0].RedirectURIs[0] != "https://shop.example/callback" || c.Apps[0].Hosts[0] != "shop.internal" {
		t.Errorf("got the apps %+v, want shop and club with all their settings", c.Apps)
	}
	if got, want := c.AppNames(), "shop, club"; got != want {
		t.Errorf("got the names %s, want %s", got, want)
	}
}

func TestOneAppOfEachServiceNeedsNoListOfApps(t *testing.T) {
	c, problems := configOf(t, "app_id: \"7\"\n", "IGPROXY_CLIENT_SECRET=0123456789abcdef", "IGPROXY_REDIRECT_URIS=https://a.example/x,https://b.example/y",
		"IGPROXY_THREADS_APP_ID=8", "IGPROXY_THREADS_CLIENT_SECRET=threads-0123456789")
	if len(problems) > 0 {
		t.Fatalf("got the problems %v, want no problem", problems)
	}
	if len(c.RedirectURIs) != 2 || c.Threads.AppID != "8" {
		t.Errorf("redirect_uris: got %q, want two; threads.app_id: got %q, want 8", c.RedirectURIs, c.Threads.AppID)
	}
	if got, want := c.AppNames(), "default, threads"; got != want {
		t.Errorf("got the names %s, want %s", got, want)
	}
}

func TestAProblemWithAnAppIsReportedWithItsLine(t *testing.T) {
	for name, c := range map[string]struct{ yaml, want string }{
		"not a list":                             {"apps: shop\n", "igproxy.yaml:1: apps: not a list; write one app after each dash: - name: main"},
		"too many":                               {"apps: [" + strings.Repeat("{},", 64) + "{}]\n", "igproxy.yaml:1: apps: has more than 64 apps; run another sidecar for the rest"},
		"an item is not an app":                  {"apps: [shop]\n", "igproxy.yaml:1: apps: an item is not an app"},
		"unknown key":                            {"apps:\n  - nam: shop\n", "igproxy.yaml:2: apps.0.nam: unknown key; did you mean apps.0.name?"},
		"no name":                                {"apps:\n  - app_id: \"1\"\n    client_secret_file: DIR/shop\n", "igproxy.yaml:2: apps.0.name: missing; set it: every app needs its own"},
		"no ID":                                  {"apps:\n  - name: shop\n    client_secret_file: DIR/shop\n", "igproxy.yaml:2: apps.0.app_id: missing"},
		"no secret":                              {"apps:\n  - name: shop\n    app_id: \"1\"\n", "igproxy.yaml:2: apps.0.client_secret: no client secret; set IGPROXY_APPS_0_CLIENT_SECRET_FILE (or apps.0.client_secret_file) to the path of a file"},
		"an invalid name":                        {"apps:\n  - name: Shop/1\n", "igproxy.yaml:2: apps.0.name: not a name"},
		"the name none":                          {"apps:\n  - name: none\n", "igproxy.yaml:2: apps.0.name: the name \"none\" is reserved"},
		"an unknown service":                     {"apps:\n  - service: whatsapp\n", "igproxy.yaml:2: apps.0.service: \"whatsapp\" is not an allowed value; write instagram, threads or facebook"},
		"the same name":                          {twoApps + "  - name: shop\n    app_id: \"9\"\n    client_secret_file: DIR/shop\n", "igproxy.yaml:11: apps.2.name: another app has the same name"},
		"the ID of the app in threads:":          {twoApps + "  - name: other\n    service: threads\n    app_id: \"5\"\n    client_secret_file: DIR/shop\nthreads:\n  app_id: \"5\"\n  client_secret_file: DIR/shop\n", "igproxy.yaml:13: apps.2.app_id: another app has the same ID"},
		"the same ID":                            {twoApps + "  - name: other\n    service: instagram\n    app_id: \"1\"\n    client_secret_file: DIR/shop\n", "igproxy.yaml:13: apps.2.app_id: another app has the same ID"},
		"app_id beside a list":                   {twoApps + "app_id: \"7\"\n", "igproxy.yaml:11: app_id: set although apps are listed; move it into an item of apps"},
		"a redirect URI with a fragment":         {"redirect_uris: [\"https://a.example/#_\"]\n", "igproxy.yaml:1: redirect_uris: \"https://a.example/#_\" is not a redirect URI"},
		"a value that is not shown":              {"redirect_uris: [https://a.example/, \"https://a.example/?a#_\"]\n", "igproxy.yaml:1: redirect_uris: item 2 is not a redirect URI"},
		"redirect URIs without an ID":            {"redirect_uris: [https://a.example/]\nclient_secret_file: DIR/shop\n", "igproxy.yaml:1: redirect_uris: set without app_id; set app_id too: a code exchange needs it"},
		"Facebook without an ID":                 {"facebook:\n  client_secret_file: DIR/shop\n", "facebook.app_id: missing: every token call of Facebook Login needs it; set it to the ID"},
		"the redirect URI none for Instagram":    {"apps:\n  - name: shop\n    app_id: \"1\"\n    client_secret_file: DIR/shop\n    redirect_uris: [none]\n", "apps.0.redirect_uris: \"none\" is not a redirect URI; remove it: it is only for apps of Facebook Login"},
		"Threads without a secret":               {"client_secret_file: DIR/shop\nthreads:\n  app_id: \"8\"\n", "threads.client_secret: no client secret; set IGPROXY_THREADS_CLIENT_SECRET_FILE"},
		"a webhook secret beside a list":         {twoApps + "webhook_secret_file: DIR/shop\n", "igproxy.yaml:11: webhook_secret_file: set although apps are listed; move it into an item of apps"},
		"only a webhook secret at the top level": {"webhook_secret_file: DIR/shop\nthreads:\n  client_secret_file: DIR/club\n", "igproxy.yaml:1: webhook_secret_file: set without client_secret_file; set client_secret_file too, or move this to the section of its app"},
		"only a webhook secret for Threads":      {"client_secret_file: DIR/shop\nthreads:\n  webhook_secret_file: DIR/club\n", "threads.client_secret: no client secret; set IGPROXY_THREADS_CLIENT_SECRET_FILE"},
	} {
		_, problems := configOf(t, c.yaml)
		var lines []string
		for _, p := range problems {
			lines = append(lines, p.String())
		}
		if all := strings.Join(lines, "\n"); !strings.Contains(all, c.want) || all == "" {
			t.Errorf("%s: got\n%s\nwant a problem with\n%s", name, all, c.want)
		}
	}
}

// The apps in the example file are valid when they are uncommented.
func TestTheExampleOfAppsIsValid(t *testing.T) {
	example, err := os.ReadFile("../../../../config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, apps, _ := strings.Cut(string(example), "\n# apps:")
	var yaml strings.Builder
	for line := range strings.Lines("# apps:" + apps) {
		if text, ok := strings.CutPrefix(line, "# "); ok && (strings.HasPrefix(text, "apps:") || strings.HasPrefix(text, " ")) {
			yaml.WriteString(text)
		}
	}
	c, problems := configOf(t, strings.ReplaceAll(yaml.String(), "/run/secrets/", "DIR/"))
	if len(problems) > 0 || len(c.Apps) != 2 || c.Apps[1].Service != "threads" {
		t.Errorf("got the problems %v and %d apps, want no problem and 2 apps:\n%s", problems, len(c.Apps), yaml.String())
	}
}

func TestFormerNameOfASettingLeadsToTheNewOne(t *testing.T) {
	_, problems := configOf(t, "cache:\n  max_entries: 100\n", "IGPROXY_CLIENT_SECRET=0123456789abcdef")
	if got, want := len(problems), 1; got != want || !strings.Contains(problems[0].String(), "did you mean cache.max_bytes?") {
		t.Errorf("got %v, want one problem that names cache.max_bytes", problems)
	}
}

// Two apps that share a key file and have no ID would get each other's tokens.
func TestAKeyFileNeedsTheIDOfEveryApp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(strings.Repeat("k", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	key := "cache:\n  key_file: " + file + "\n"
	for name, c := range map[string]struct {
		yaml    string
		environ []string
		want    []string // keys with a problem
	}{
		"the default app":                   {key, []string{"IGPROXY_CLIENT_SECRET=0123456789abcdef"}, []string{"app_id"}},
		"the default app, secret in a file": {"client_secret_file: DIR/shop\n" + key, nil, []string{"app_id"}},
		"the app of Threads":                {"app_id: \"1\"\n" + key, []string{"IGPROXY_CLIENT_SECRET=0123456789abcdef", "IGPROXY_THREADS_CLIENT_SECRET=0123456789abcdef"}, []string{"threads.app_id"}},
		"two apps with an ID":               {"app_id: \"1\"\nthreads:\n  app_id: \"1\"\n" + key, []string{"IGPROXY_CLIENT_SECRET=0123456789abcdef", "IGPROXY_THREADS_CLIENT_SECRET=0123456789abcdef"}, nil},
		"a list of apps":                    {twoApps + key, nil, nil},
		"a list of one app without ID":      {"apps:\n  - name: shop\n    client_secret_file: DIR/shop\n" + key, nil, []string{"apps.0.app_id"}},
		"no key file":                       {"", []string{"IGPROXY_CLIENT_SECRET=0123456789abcdef"}, nil},
	} {
		_, problems := configOf(t, c.yaml, c.environ...)
		var got []string
		for _, p := range problems {
			if !p.Warning {
				got = append(got, p.Key)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got problems with the keys %q, want %q; all problems: %v", name, got, c.want, problems)
		}
	}
}

// Facebook Login has its own section, and its apps may exchange codes without a redirect_uri.
func TestAFacebookAppIsRead(t *testing.T) {
	c, problems := configOf(t, "facebook:\n  app_id: \"7\"\n  client_secret_file: DIR/shop\n  redirect_uris: [https://a.example/, none]\n")
	if len(problems) > 0 {
		t.Fatalf("got the problems %v, want no problem", problems)
	}
	if c.AppNames() != "facebook" || c.Facebook.AppID != "7" || c.Facebook.ClientSecret.IsZero() || !slices.Equal(c.Facebook.RedirectURIs, []string{"https://a.example/", "none"}) ||
		c.Facebook.URL != "https://graph.facebook.com" {
		t.Errorf("got %+v and the app names %s, want only facebook with its settings", c.Facebook, c.AppNames())
	}
}
