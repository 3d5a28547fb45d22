package config

// The tests in this file put secrets into inputs and files. No message may repeat a secret.

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
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
				t.Errorf("%s: %q", key.key, lines)
			}
		}
	}
	for _, harmless := range []string{"127.0.0.1:8080", "redis-1.redis.default.svc.cluster.local:6379", "1h30m", "10.0.0.1:123456789", "ip-10-20-30-40.eu-central-1.internal:1", "unix:run/igproxy.sock"} {
		if quote(harmless) != strconv.Quote(harmless) {
			t.Errorf("%q is not repeated", harmless)
		}
	}
}

func TestASecretFileMayEndWithANewline(t *testing.T) {
	t.Chdir(t.TempDir())
	for text, want := range map[string]string{canary: canary, canary + "\n": canary, canary + "\r\n": canary, canary + "\r": canary} {
		write(t, "secret", text)
		if got, err := ReadSecret("./secret"); err != nil || got.Reveal() != want {
			t.Errorf("%q: got %q, %v", text, got.Reveal(), err)
		}
	}
	for _, text := range []string{canary + "\n\n", "\n" + canary, "\ufeff " + canary, canary + "\x00", canary + "\u00a0"} {
		write(t, "secret", text)
		if got, err := ReadSecret("./secret"); err == nil {
			t.Errorf("%q was accepted as %q", text, got.Reveal())
		}
	}
	key := strings.Repeat("\x00\n", 16)
	write(t, "key", key)
	if got, err := readKeyFile("./key"); err != nil || got.Reveal() != key {
		t.Errorf("got %q, %v", got.Reveal(), err)
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
			t.Errorf("%q: got %q, %q, %v", text, got[0].Reveal(), got[1].Reveal(), err)
		}
	}
	for text, want := range map[string]string{
		canary + "\n\n":                      "contains no secret",
		"\n" + canary:                        "contains no secret",
		canary + "\n" + previous + "\nthird": "has more than two lines",
		canary + "\nshort":                   "contains fewer than 8 characters",
		canary + "\nwith a space":            "contains a space",
		canary + "\r" + previous:             "contains a space, a line break",
	} {
		write(t, "secret", text)
		_, err := readClientSecrets("./secret")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
	write(t, "secret", canary+"\n"+previous)
	c, problems := Load("", []string{"IGPROXY_CLIENT_SECRET_FILE=./secret"})
	if c.PreviousSecret.Reveal() != previous {
		t.Errorf("got %s, %v", c.AppNames(), problems)
	}
	next := c
	next.PreviousSecret = c.ClientSecret
	if got := differences(c, next); len(got) != 1 || got[0] != "client_secret_file" {
		t.Errorf("with another previous secret: got %v", got)
	}
}

func TestUIDsAreAnErrorWhereTheSystemDoesNotReportThem(t *testing.T) {
	l := newLoader(Default())
	l.environment([]string{"IGPROXY_LISTEN=unix:/s", "IGPROXY_AUTH_UIDS=1000"})
	l.validateTrust(false)
	got := l.sorted()
	want := "environment: IGPROXY_AUTH_UIDS: only Linux reports the user of a connection; remove it, and restrict server.socket_mode"
	if len(got) != 1 || got[0].String() != want {
		t.Errorf("got %v, want %s", got, want)
	}
	l = newLoader(Default())
	l.environment([]string{"IGPROXY_ADMIN_SOCKET=/s", "IGPROXY_ADMIN_UIDS=1000"})
	l.validateOperators(false)
	want = "environment: IGPROXY_ADMIN_UIDS: only Linux reports the user of a connection; remove it, and set admin.token_file"
	if got := l.sorted(); len(got) != 1 || got[0].String() != want {
		t.Errorf("got %v, want %s", got, want)
	}
}
