package sidecar_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/authority"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/logging"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/sidecar"
	"github.com/igproxy/igproxy/proxy/admin"
)

func TestTheStatusSaysWhatIsIntercepted(t *testing.T) {
	dir := t.TempDir()
	if err := authority.Create(dir); err != nil {
		t.Fatal(err)
	}
	o := options(t, logging.Start(io.Discard, "info", "text"))
	c := &o.Config.Intercept
	c.Listen, c.CAFile, c.CAKeyFile, c.Others = "127.0.0.1:0", filepath.Join(dir, authority.CertFile), filepath.Join(dir, authority.KeyFile), "refuse"
	s, err := sidecar.New(o)
	if err != nil {
		t.Fatal(err)
	}
	signals, ended := make(chan os.Signal, 1), make(chan error, 1)
	go func() { ended <- s.Run(signals) }() // ends with the signal
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	res, err := client.Get(s.AdminURL() + "/status")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var got admin.Status
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	i := got.Intercept
	if i == nil || i.Listen != s.InterceptURL() || !slices.Contains(i.Hosts, "graph.instagram.com") || i.Others != "refuse" || time.Until(i.Ends) < 9*365*24*time.Hour {
		t.Errorf("got %+v", i)
	}
	signals <- syscall.SIGTERM
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
