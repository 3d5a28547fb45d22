package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
)

// adminFlags returns the flags of every command that calls a running sidecar.
func adminFlags(timeout time.Duration) []cli.Flag {
	positive := func(_ *cli.Context, d time.Duration) error {
		if d <= 0 {
			return usageError("--timeout: use a time above 0, such as 2s")
		}
		return nil
	}
	return []cli.Flag{configFlag(),
		&cli.DurationFlag{Name: "timeout", Value: timeout, Usage: "wait at most `TIME` for the reply", Action: positive}}
}

// adminAddress returns the address of the sidecar's admin listener. A wrong admin.listen is an
// error. Other problems do not concern these commands; if the file as a whole cannot be used, it
// warns, and the address comes from the environment or the default.
func adminAddress(c *cli.Context, env environment) (string, error) {
	conf, problems := config.Load(c.String("config"), env.environ)
	for _, p := range problems {
		switch {
		case p.Warning:
		case p.Key == "admin.listen":
			return "", usageError("%s", p)
		case p.Key == "" && p.Where != "": // about the file as a whole
			fmt.Fprintf(env.stderr, "igproxy: warning: %s; calling the sidecar at %s anyway\n", p, conf.Admin.Listen)
		}
	}
	return conf.Admin.Listen, nil
}

// maxReply bounds a sidecar's reply, in bytes.
const maxReply = 1 << 20

// callAdmin sends a request to the running sidecar, within --timeout, and decodes its JSON reply. A
// form is sent as the body.
func callAdmin(c *cli.Context, env environment, method, path, form string, reply any) (status int, err error) {
	listen, err := adminAddress(c, env)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	network, address := "tcp", listen
	if path, ok := strings.CutPrefix(listen, "unix:"); ok {
		network, address = "unix", path
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		// If the listener is on all addresses, such as 0.0.0.0, a Dialer connects to this machine.
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	r, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, strings.NewReader(form))
	if err != nil {
		return 0, err
	}
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := transport.RoundTrip(r)
	if err != nil {
		return 0, fmt.Errorf("no answer from %s; is igproxy serve running with this admin.listen?", listen)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, maxReply)).Decode(reply); err != nil {
		return 0, fmt.Errorf("%s did not reply as igproxy does; check admin.listen", listen)
	}
	return res.StatusCode, nil
}
