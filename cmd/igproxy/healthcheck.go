package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/proxy"
)

func healthcheckCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:        "healthcheck",
		Usage:       "ask a running sidecar whether it is ready",
		Description: "For the health checks of containers. Asks /readyz on admin.listen; exits with 0\nwhen ready, with 1 when not, and says why. It does not need the client secret.",
		Flags:       []cli.Flag{configFlag(), timeoutFlag(2 * time.Second)},
		Action: func(c *cli.Context) error {
			address, err := adminAddress(c, env)
			if err != nil {
				return errors.New(err.Error()) // exits with 1: Docker keeps 2 for itself
			}
			ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
			defer cancel()
			return healthcheck(ctx, address, env.stdout)
		},
	}
}

func healthcheck(ctx context.Context, address string, out io.Writer) error {
	var s proxy.Readiness
	status, err := askAdmin(ctx, address, http.MethodGet, "/readyz", "", &s)
	if err != nil {
		return err
	}
	if !s.Ready || status != http.StatusOK {
		return errors.New("not ready: " + why(s))
	}
	_, err = fmt.Fprintf(out, "ready (breaker %s, redis %s)\n", s.Breaker, s.Redis)
	return err
}

func why(s proxy.Readiness) string {
	switch {
	case s.Draining:
		return "draining"
	case s.ClientSecret != "ok":
		return "Instagram refuses the client secret"
	}
	return "see /readyz"
}
