package sidecar

import (
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/authority"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/logging"
	"github.com/igproxy/igproxy/proxy"
)

// interceptingOn returns a sidecar, which does not run, with a listener for interception.
func interceptingOn(t *testing.T, listen string) *Sidecar {
	t.Helper()
	dir := t.TempDir()
	if err := authority.Create(dir); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "bearer"), "0123456789abcdef")
	log := logging.Start(io.Discard, "info", "text")
	t.Cleanup(func() { log.Close() })
	c := config.Default()
	c.Listen, c.Admin.Listen, c.ClientSecret = []string{"127.0.0.1:0"}, "127.0.0.1:0", proxy.NewSecret("0123456789abcdef")
	c.Auth.BearerFile = filepath.Join(dir, "bearer")
	c.Intercept.Listen, c.Intercept.CAFile, c.Intercept.CAKeyFile = listen, filepath.Join(dir, authority.CertFile), filepath.Join(dir, authority.KeyFile)
	s, err := New(Options{Config: c, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.closeAll)
	return s
}

// The listener stays open until a restart, whatever intercept.listen says now.
func TestAReloadNeverOpensInterceptionToOtherMachines(t *testing.T) {
	for listen, refused := range map[string]bool{"0.0.0.0:0": true, "127.0.0.1:0": false} {
		s := interceptingOn(t, listen)
		next := s.conf
		next.Auth.BearerFile, next.Intercept.Listen = "", "127.0.0.1:0"
		err := s.apply(next)
		if _, ok := errors.AsType[ConfigurationError](err); ok != refused || refused != (err != nil) || refused && !strings.Contains(err.Error(), "intercept.listen: ") {
			t.Errorf("%s: got %v; want an error about intercept.listen: %v", listen, err, refused)
		}
		if got := s.bearers.Load().digests != nil; got != refused {
			t.Errorf("%s: a token is required: %v, want %v", listen, got, refused)
		}
	}
}
