package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/proxy"
)

func healthcheckCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "healthcheck",
		Usage: "ask a running sidecar whether it is ready",
		Description: "For the health checks of containers. Reads /readyz on admin.listen. Exits with 0\n" +
			"if the sidecar is ready; otherwise says why not, and exits with 1. It does not\n" +
			"need the client secret.",
		Flags: adminFlags(2 * time.Second),
		Action: func(c *cli.Context) error {
			var s proxy.Readiness
			status, err := readAdmin(c, env, "/readyz", &s)
			switch {
			case err != nil:
				return errors.New(err.Error()) // without the exit code of err, because Docker reserves 2
			case s.Ready && status == http.StatusOK:
				fmt.Fprintf(env.stdout, "ready (breaker %s, redis %s)\n", s.Breaker, s.Redis)
				return nil
			case s.Draining:
				return errors.New("not ready: draining")
			case strings.HasPrefix(s.ClientSecret, "refused"):
				return errors.New("not ready: Meta refuses the client secret")
			case strings.HasPrefix(s.ClientSecret, "unproven"):
				return errors.New("not ready: the client secret is being tested")
			}
			return errors.New("not ready: see /readyz")
		},
	}
}
