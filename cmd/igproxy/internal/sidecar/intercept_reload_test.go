package sidecar

import (
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/authority"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/proxy"
)

func TestAReloadDecidesWhichHostsAreIntercepted(t *testing.T) {
	n := startIntercepting(t, nil)
	const target = "https://" + facebookHost + "/v23.0/me?access_token=EAA"
	if got := n.get(t, target, nil); !strings.Contains(got, "Forbidden") {
		t.Fatalf("without an app of Facebook: got %s, want Forbidden", got)
	}
	kept := &http.Client{Transport: n.transport(t, n.roots(t), nil)}
	n.facebook()
	if response := n.reloads.reload(); !response.Reloaded {
		t.Fatalf("the reload was refused: %+v", response)
	}
	if got := ask(kept, target); got != "HTTP/2.0 200" {
		t.Errorf("after an app of Facebook was added: got %s, want HTTP/2.0 200", got)
	}
	n.conf.Facebook.AppID, n.conf.Facebook.ClientSecret = "", proxy.Secret{}
	if response := n.reloads.reload(); !response.Reloaded {
		t.Fatalf("the reload was refused: %+v", response)
	}
	if got := ask(kept, target); got != "HTTP/2.0 421" {
		t.Errorf("after the app was removed, on a kept connection: got %s, want HTTP/2.0 421", got)
	}
	if got := n.get(t, target, nil); !strings.Contains(got, "Forbidden") {
		t.Errorf("after the app was removed: got %s, want Forbidden", got)
	}
}

func TestAReloadTurnsTheTokenCheckOfInterceptionOnAndOff(t *testing.T) {
	n := startIntercepting(t, nil)
	token := filepath.Join(t.TempDir(), "token")
	write(t, token, "the-token-of-igproxy\n")
	const target = "https://" + instagramHost + "/me?access_token=IGAA"
	user := url.UserPassword("igproxy", "the-token-of-igproxy")
	kept := &http.Client{Transport: n.transport(t, n.roots(t), nil)}
	if got := ask(kept, target); got != "HTTP/2.0 200" {
		t.Fatalf("before the reload: got %s, want HTTP/2.0 200", got)
	}
	n.conf.Auth.BearerFile = token
	if response := n.reloads.reload(); !response.Reloaded {
		t.Fatalf("the reload was refused: %+v", response)
	}
	if with, without := n.get(t, target, user), n.get(t, target, nil); with != "HTTP/2.0 200" || !strings.Contains(without, "Proxy Authentication Required") {
		t.Errorf("with auth.bearer_file: got %s with the token, want HTTP/2.0 200; got %s without it, want Proxy Authentication Required", with, without)
	}
	n.conf.Auth.BearerFile = ""
	if response := n.reloads.reload(); !response.Reloaded {
		t.Fatalf("the reload was refused: %+v", response)
	}
	if with, without := n.get(t, target, user), n.get(t, target, nil); with != "HTTP/2.0 200" || without != "HTTP/2.0 200" {
		t.Errorf("without auth.bearer_file: got %s with the token, and %s without it; want HTTP/2.0 200 for both", with, without)
	}
}

func TestAReloadTakesAnotherAuthority(t *testing.T) {
	n := startIntercepting(t, nil)
	const target = "https://" + instagramHost + "/me?access_token=IGAA"
	kept := &http.Client{Transport: n.transport(t, n.roots(t), nil)}
	if got := ask(kept, target); got != "HTTP/2.0 200" {
		t.Fatalf("before the reload: got %s, want HTTP/2.0 200", got)
	}
	before := n.roots(t)
	second := filepath.Join(t.TempDir(), "second")
	if err := authority.Create(second); err != nil {
		t.Fatal(err)
	}
	n.conf.Intercept.CAFile, n.conf.Intercept.CAKeyFile = filepath.Join(second, authority.CertFile), filepath.Join(second, authority.KeyFile)
	if response := n.reloads.reload(); !response.Reloaded || len(response.NeedsRestart) > 0 {
		t.Fatalf("got %+v, want a reload after which no key waits for a restart", response)
	}
	if got := n.get(t, target, nil); got != "HTTP/2.0 200" {
		t.Errorf("a client that trusts the second authority: got %s, want HTTP/2.0 200", got)
	}
	if got := ask(kept, target); got != "HTTP/2.0 200" {
		t.Errorf("a kept connection: got %s, want HTTP/2.0 200", got)
	}
	if got := ask(&http.Client{Transport: n.transport(t, before, nil)}, target); !strings.Contains(got, "unknown authority") {
		t.Errorf("a client that trusts only the first authority: got %s, want unknown authority", got)
	}
	// A reload with a key that does not belong to the certificate is refused, and changes nothing.
	n.conf.Intercept.CAKeyFile = filepath.Join(n.dir, authority.KeyFile)
	if response := n.reloads.reload(); response.Reloaded || len(response.Problems) != 1 || !strings.Contains(response.Problems[0], "is not the key of") {
		t.Errorf("a reload with the wrong key: got %+v, want it refused", response)
	}
	if got := n.get(t, target, nil); got != "HTTP/2.0 200" {
		t.Errorf("after a refused reload: got %s, want HTTP/2.0 200", got)
	}
}

// New contents of the authority's files are used without a reload of the configuration.
func TestANewAuthorityInTheSameFilesIsUsedWithoutAReload(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, dir := range []string{"ca", "next"} {
		if err := authority.Create(dir); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))) // within the life of the authority
		var log bytes.Buffer
		s := &Sidecar{interceptNets: []net.Listener{nil}, log: slog.New(slog.NewTextHandler(&log, nil))}
		c := config.Default()
		c.Intercept.CAFile, c.Intercept.CAKeyFile = "ca/"+authority.CertFile, "ca/"+authority.KeyFile
		current, err := s.followAuthority(c)
		if err != nil {
			t.Fatal(err)
		}
		before := current().Fingerprint()
		move := func(name string) {
			t.Helper()
			if err := os.Rename("next/"+name, "ca/"+name); err != nil {
				t.Fatal(err)
			}
			time.Sleep(config.LookEvery)
		}
		move(authority.CertFile) // the key is still the previous one
		if got := current().Fingerprint(); got != before {
			t.Errorf("a new certificate without its key: got the fingerprint %s, want %s", got, before)
		}
		move(authority.KeyFile)
		if got := current().Fingerprint(); got == before {
			t.Errorf("a new certificate and its key: got the fingerprint %s, want another one; the log: %s", got, log.String())
		}
	})
}

// Only a restart turns interception on or off. The response to a reload names intercept.listen.
func TestTurningInterceptionOffNeedsARestart(t *testing.T) {
	n := startIntercepting(t, nil)
	section := n.conf.Intercept
	n.conf.Intercept = config.Default().Intercept
	const target = "https://" + instagramHost + "/me?access_token=IGAA"
	response := n.reloads.reload()
	if !response.Reloaded || strings.Join(response.NeedsRestart, " ") != "intercept.listen" {
		t.Errorf("a reload without intercept.listen: got %+v, want this key to wait for a restart", response)
	}
	n.conf.Intercept = section
	if got := n.get(t, target, nil); got != "HTTP/2.0 200" {
		t.Errorf("after a reload without intercept.listen: got %s, want HTTP/2.0 200", got)
	}
	if response := n.reloads.reload(); !response.Reloaded || len(response.NeedsRestart) > 0 {
		t.Errorf("a reload with the previous settings: got %+v, want no key to wait for a restart", response)
	}
	if got := n.get(t, target, nil); got != "HTTP/2.0 200" {
		t.Errorf("after a reload with the previous settings: got %s, want HTTP/2.0 200", got)
	}
}
