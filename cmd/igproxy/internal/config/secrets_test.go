package config

// What the tests of config's inner parts know of secrets.

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// canary is the client secret of these tests. No message may have it.
const canary = "s3cr3t-canary-0123456789"

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A secret on the wrong line, where the value that is wrong would be repeated.
func TestASecretInThePlaceOfAnyValueIsNotRepeated(t *testing.T) {
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

func TestASecretLosesOneNewlineAndAKeyNone(t *testing.T) {
	t.Chdir(t.TempDir())
	for text, want := range map[string]string{canary: canary, canary + "\n": canary, canary + "\r\n": canary} {
		write(t, "secret", text)
		if got, err := ReadSecret("./secret"); err != nil || got.Reveal() != want {
			t.Errorf("%q: got %q, %v", text, got.Reveal(), err)
		}
	}
	for _, text := range []string{canary + "\n\n", "\n" + canary, canary + "\r", "\ufeff " + canary, canary + "\x00", canary + "\u00a0"} {
		write(t, "secret", text)
		if got, err := ReadSecret("./secret"); err == nil {
			t.Errorf("%q was taken, as %q", text, got.Reveal())
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

func TestAClientSecretMayHaveThePreviousOneBelowIt(t *testing.T) {
	t.Chdir(t.TempDir())
	const before = "a-secret-of-before"
	for text, want := range map[string][2]string{canary: {canary, ""}, canary + "\n": {canary, ""}, canary + "\n" + before: {canary, before},
		canary + "\r\n" + before + "\r\n": {canary, before}} {
		write(t, "secret", text)
		current, previous, err := readClientSecrets("./secret")
		if err != nil || current.Reveal() != want[0] || previous.Reveal() != want[1] {
			t.Errorf("%q: got %q, %q, %v", text, current.Reveal(), previous.Reveal(), err)
		}
	}
	for text, want := range map[string]string{
		canary + "\n\n":                    "holds no secret",
		"\n" + canary:                      "holds no secret",
		canary + "\n" + before + "\nthird": "holds more than two lines",
		canary + "\nshort":                 "holds fewer than 8 characters",
		canary + "\nwith a blank":          "holds a blank",
		canary + "\r" + before:             "holds a blank, a line break",
	} {
		write(t, "secret", text)
		_, _, err := readClientSecrets("./secret")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
	write(t, "secret", canary+"\n"+before)
	c, problems := Load("", []string{"IGPROXY_CLIENT_SECRET_FILE=./secret"})
	if c.PreviousSecret.Reveal() != before || !strings.Contains(c.AppNames(), "with a previous secret") {
		t.Errorf("got %s, %v", c.AppNames(), problems)
	}
	next := c
	next.PreviousSecret = c.ClientSecret
	if got := differences(c, next); len(got) != 1 || got[0] != "client_secret_file" {
		t.Errorf("another previous secret: %v", got)
	}
}

func TestUsersOfASocketAreAnErrorWhereTheSystemDoesNotTellThem(t *testing.T) {
	l := &loader{config: Default(), table: settings(), places: map[string]place{}, bad: map[string]bool{}}
	l.environment([]string{"IGPROXY_LISTEN=unix:/s", "IGPROXY_AUTH_UIDS=1000"})
	l.validateTrust(false)
	got := sortFindings(l.findings)
	want := "environment: IGPROXY_AUTH_UIDS: this system does not say whose a connection is; Linux does; remove it, and let server.socket_mode decide"
	if len(got) != 1 || got[0].String() != want {
		t.Errorf("got %v, want %s", got, want)
	}
}
