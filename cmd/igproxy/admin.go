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

// timeoutFlag is shared by the commands that ask a running sidecar.
func timeoutFlag(value time.Duration) *cli.DurationFlag {
	return &cli.DurationFlag{Name: "timeout", Value: value, Usage: "wait `TIME` for the answer, at most", Action: func(_ *cli.Context, d time.Duration) error {
		if d <= 0 {
			return &usageError{"--timeout: write a time above 0, such as 2s"}
		}
		return nil
	}}
}

// adminAddress is where the sidecar of this configuration has its admin listener. These commands
// run without the secret, and beside a sidecar that goes on with what it read before: a file that
// cannot be read is told, and then the environment's address is asked, or the default.
func adminAddress(c *cli.Context, env environment) (string, error) {
	conf, problems := config.Load(c.String("config"), env.environ)
	for _, p := range problems {
		switch {
		case p.Warning:
		case p.Key == "admin.listen":
			return "", &usageError{p.String()}
		case p.Key == "" && p.Where != "": // of the file as a whole
			fmt.Fprintf(env.stderr, "igproxy: warning: %s; asking the sidecar at %s all the same\n", p, conf.Admin.Listen)
		}
	}
	return conf.Admin.Listen, nil
}

// maxReply bounds what a sidecar may answer, in bytes.
const maxReply = 1 << 20

// askAdmin asks a running sidecar and reads its JSON.
func askAdmin(ctx context.Context, address, method, path, form string, into any) (status int, err error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		if path, ok := strings.CutPrefix(address, "unix:"); ok {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
		return (&net.Dialer{}).DialContext(ctx, "tcp", dialable(address))
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
		return 0, fmt.Errorf("no answer from %s; is igproxy serve running, with this admin.listen?", address)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, maxReply)).Decode(into); err != nil {
		return 0, fmt.Errorf("%s answered, but not as igproxy does; check admin.listen", address)
	}
	return res.StatusCode, nil
}

// dialable turns a listen address into one to dial: a listener on every address is asked on
// loopback.
func dialable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
