package config

// Most tests in this file put secrets into inputs and files. No problem that igproxy reports may
// repeat a secret.

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/proxy"
)

// canary is the client secret of these tests. No message may contain it.
const canary = "s3cr3t-canary-0123456789"

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A wrong value is repeated in messages, unless it looks like a secret in the wrong place.
func TestSecretInAnyWrongPlaceIsNotRepeated(t *testing.T) {
	for _, key := range settings() {
		if key.key == "client_secret" {
			continue
		}
		for _, secret := range []string{"5ec2e7ca9a2y0123456789abcdef0123", "IGAA0canary1canary2canary3canary4", "0123456789012345678901234567890a"} {
			t.Chdir(t.TempDir())
			_, problems := Load("", []string{envName(key.key) + "=" + secret, "IGPROXY_REDIS_MODE=single", "IGPROXY_CLIENT_SECRET=" + canary})
			if lines := fmt.Sprint(problems); strings.Contains(lines, secret[:12]) {
				t.Errorf("the problems repeat a secret that %s was set to: %q", key.key, lines)
			}
		}
	}
	for _, harmless := range []string{"127.0.0.1:8080", "redis-1.redis.default.svc.cluster.local:6379", "1h30m", "10.0.0.1:123456789", "ip-10-20-30-40.eu-central-1.internal:1", "unix:run/igproxy.sock"} {
		if got, want := quote(harmless), strconv.Quote(harmless); got != want {
			t.Errorf("a harmless value: got %s, want %s", got, want)
		}
	}
}

func TestASecretFileMayEndWithANewline(t *testing.T) {
	t.Chdir(t.TempDir())
	for text, want := range map[string]string{canary: canary, canary + "\n": canary, canary + "\r\n": canary, canary + "\r": canary} {
		write(t, "secret", text)
		if got, err := ReadSecret("./secret"); err != nil || got.Reveal() != want {
			t.Errorf("%q: got %q (error: %v), want %q", text, got.Reveal(), err, want)
		}
	}
	for _, text := range []string{canary + "\n\n", "\n" + canary, "\ufeff " + canary, canary + "\x00", canary + "\u00a0"} {
		write(t, "secret", text)
		if got, err := ReadSecret("./secret"); err == nil {
			t.Errorf("%q: got the secret %q, want an error", text, got.Reveal())
		}
	}
	key := strings.Repeat("\x00\n", 16)
	write(t, "key", key)
	if got, err := readKeyFile("./key"); err != nil || got.Reveal() != key {
		t.Errorf("a key file: got %q (error: %v), want its bytes unchanged", got.Reveal(), err)
	}
}

func TestAPathThatMayBeTheSecretIsNotShown(t *testing.T) {
	for path, want := range map[string]string{"/run/s": "/run/s", "./s": "./s", "../s": "../s", "~/s": "~/s", canary: hiddenPath, "s": hiddenPath, "": hiddenPath} {
		if got := shownPath(path); got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	}
}

func TestAClientSecretFileMayHaveThePreviousSecretOnItsSecondLine(t *testing.T) {
	t.Chdir(t.TempDir())
	const previous = "a-previous-secret"
	for text, want := range map[string][2]string{canary: {canary, ""}, canary + "\n": {canary, ""}, canary + "\n" + previous: {canary, previous},
		canary + "\r\n" + previous + "\r\n": {canary, previous}} {
		write(t, "secret", text)
		got, err := readClientSecrets("./secret")
		if err != nil || got[0].Reveal() != want[0] || got[1].Reveal() != want[1] {
			t.Errorf("%q: got the secrets %q and %q (error: %v), want %q", text, got[0].Reveal(), got[1].Reveal(), err, want)
		}
	}
	for text, want := range map[string]string{
		canary + "\n\n":                      "contains no secret (line 2)",
		"\n" + canary:                        "contains no secret (line 1)",
		canary + "\n" + previous + "\nthird": "has more than two lines",
		canary + "\nshort":                   "contains fewer than 8 characters (line 2)",
		"short\n" + canary:                   "contains fewer than 8 characters (line 1)",
		canary + "\nSECRET=" + previous:      "as a line of an env file does (line 2)",
		canary + "\nwith a space":            "or a control character (line 2)",
		canary + "\r" + previous:             "contains a space, a line break",
	} {
		write(t, "secret", text)
		_, err := readClientSecrets("./secret")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%q: got the error %v, want one that contains %q and not the secret", text, err, want)
		}
	}
	write(t, "secret", canary+"\n"+previous)
	c, problems := Load("", []string{"IGPROXY_CLIENT_SECRET_FILE=./secret"})
	if got := c.PreviousSecret.Reveal(); got != previous {
		t.Errorf("got the previous secret %q, want %q; problems: %v", got, previous, problems)
	}
	next := c
	next.PreviousSecret = c.ClientSecret
	if got := differences(c, next); len(got) != 1 || got[0] != "client_secret_file" {
		t.Errorf("after a change of the previous secret: got the changed keys %v, want only client_secret_file", got)
	}
}

func TestAWebhookSecretFileHasOneOrTwoSecrets(t *testing.T) {
	t.Chdir(t.TempDir())
	const first, second = "the-facebook-apps-secret", "its-previous-secret"
	write(t, "secret", canary)
	write(t, "shop", first+"\r\n")
	write(t, "igproxy.yaml", "apps:\n  - {name: shop, app_id: \"1\", client_secret_file: ./secret, webhook_secret_file: ./shop}\n")
	for text, want := range map[string][]string{first: {first}, first + "\n": {first}, first + "\n" + second + "\n": {first, second}} {
		write(t, "webhooks", text)
		environ := []string{"IGPROXY_CLIENT_SECRET_FILE=./secret", "IGPROXY_WEBHOOK_SECRET_FILE=./webhooks",
			"IGPROXY_THREADS_CLIENT_SECRET_FILE=./secret", "IGPROXY_THREADS_WEBHOOK_SECRET_FILE=./webhooks"}
		c, problems := Load("", environ)
		for _, got := range [][]proxy.Secret{c.WebhookSecrets, c.Threads.WebhookSecrets} {
			var texts []string
			for _, one := range got {
				texts = append(texts, one.Reveal())
			}
			if !slices.Equal(texts, want) || len(problems) > 0 {
				t.Errorf("%q: got the secrets %q, want %q; problems: got %v, want no problem", text, texts, want, problems)
			}
		}
		if files := c.Files(); !slices.Contains(files, "./webhooks") {
			t.Errorf("files to watch: got %v, want ./webhooks among them", files)
		}
		write(t, "webhooks", "another-secret")
		next, _ := Load("", environ)
		if got := differences(c, next); !slices.Equal(got, []string{"webhook_secret_file", "threads.webhook_secret_file"}) {
			t.Errorf("after a change of the file: got the changed keys %v, want webhook_secret_file and threads.webhook_secret_file", got)
		}
	}
	c, problems := Load("igproxy.yaml", nil)
	if len(problems) > 0 || len(c.Apps) != 1 || len(c.Apps[0].WebhookSecrets) != 1 || c.Apps[0].WebhookSecrets[0].Reveal() != first || !slices.Contains(c.Files(), "./shop") {
		t.Errorf("got %d apps, want 1 with the webhook secret %q; problems: got %v, want no problem; watched files: got %v, want ./shop among them", len(c.Apps), first, problems, c.Files())
	}
	write(t, "shop", second)
	if next, _ := Load("igproxy.yaml", nil); !slices.Equal(differences(c, next), []string{"apps"}) {
		t.Errorf("after a change of an app's file: got the changed keys %v, want only apps", differences(c, next))
	}
	for text, want := range map[string]string{
		"":      "./webhooks contains no secret",
		"short": "./webhooks contains fewer than 8 characters",
		first + "\n" + second + "\n" + "third-secret": "./webhooks has more than two lines",
		"FACEBOOK_SECRET=" + first:                    "./webhooks begins with NAME=",
	} {
		write(t, "webhooks", text)
		_, problems := Load("", []string{"IGPROXY_CLIENT_SECRET=" + canary, "IGPROXY_WEBHOOK_SECRET_FILE=./webhooks"})
		if all := fmt.Sprint(problems); len(problems) != 1 || !strings.Contains(all, "WEBHOOK_SECRET_FILE: "+want) || strings.Contains(all, first) {
			t.Errorf("%q: got the problems %v, want exactly one, which contains %q", text, problems, want)
		}
	}
}

func TestUIDsAreAnErrorWhereTheSystemDoesNotReportThem(t *testing.T) {
	l := newLoader(Default())
	l.environment([]string{"IGPROXY_LISTEN=unix:/s", "IGPROXY_AUTH_UIDS=1000"})
	l.validateTrust(false)
	got := l.sorted()
	want := "environment: IGPROXY_AUTH_UIDS: igproxy can check UIDs only on Linux; remove it, and restrict server.socket_mode"
	if len(got) != 1 || got[0].String() != want {
		t.Errorf("got the problems %v, want %s", got, want)
	}
	l = newLoader(Default())
	l.environment([]string{"IGPROXY_ADMIN_SOCKET=/s", "IGPROXY_ADMIN_UIDS=1000"})
	l.validateOperators(false)
	want = "environment: IGPROXY_ADMIN_UIDS: igproxy can check UIDs only on Linux; remove it, and set admin.token_file"
	if got := l.sorted(); len(got) != 1 || got[0].String() != want {
		t.Errorf("got the problems %v, want %s", got, want)
	}
}
