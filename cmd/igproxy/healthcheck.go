package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/proxy"
)

func healthcheckCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:        "healthcheck",
		Usage:       "ask a running sidecar whether it is ready",
		Description: "For the health checks of containers. Asks /readyz on admin.listen; exits with 0\nwhen ready, with 1 when not, and says why. It does not need the client secret.",
		Flags: []cli.Flag{configFlag(),
			&cli.DurationFlag{Name: "timeout", Value: 2 * time.Second, Usage: "wait `TIME` for the answer, at most"}},
		Action: func(c *cli.Context) error {
			if c.Duration("timeout") <= 0 {
				return &usageError{"--timeout: write a time above 0, such as 2s"}
			}
			config, err := onlyAdmin(c, env)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
			defer cancel()
			return healthcheck(ctx, config.Admin.Listen, env.stdout)
		},
	}
}

func healthcheck(ctx context.Context, address string, out io.Writer) error {
	res, err := askAdmin(ctx, address, http.MethodGet, "/readyz")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var s proxy.Status
	if err := json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(&s); err != nil {
		return fmt.Errorf("%s answered, but not as igproxy does; check admin.listen", address)
	}
	if !s.Ready || res.StatusCode != http.StatusOK {
		return errors.New("not ready: " + why(s))
	}
	_, err = fmt.Fprintf(out, "ready (breaker %s, redis %s)\n", s.Breaker, s.Redis)
	return err
}

// askAdmin asks a running sidecar's admin listener, over TCP or its Unix socket. Its error says what to look at.
func askAdmin(ctx context.Context, address, method, path string) (*http.Response, error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		if path, ok := strings.CutPrefix(address, "unix:"); ok {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
		return (&net.Dialer{}).DialContext(ctx, "tcp", dialable(address))
	}}
	r, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := transport.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("no answer from %s; is igproxy serve running, with this admin.listen?", address)
	}
	return res, nil
}

func why(s proxy.Status) string {
	switch {
	case s.Draining:
		return "draining"
	case s.ClientSecret != "ok":
		return "Instagram refuses the client secret"
	}
	return "see /readyz"
}

// dialable turns a listen address into one to dial: a listener on every address is asked on loopback.
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
