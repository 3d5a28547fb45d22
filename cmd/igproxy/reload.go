package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/sidecar"
)

func reloadCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "reload",
		Usage: "have a running sidecar read its configuration again",
		Description: "Asks POST /reload on admin.listen, on this machine; SIGHUP does the same. A\n" +
			"changed file is found within seconds without either. Tells what has changed and\n" +
			"what waits for a restart. When the configuration is wrong nothing changes: it\n" +
			"says why, and exits with 1. It does not need the client secret.",
		Flags: []cli.Flag{configFlag(), timeoutFlag(10 * time.Second)},
		Action: func(c *cli.Context) error {
			address, err := adminAddress(c, env)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
			defer cancel()
			var reply sidecar.ReloadReply
			if _, err := askAdmin(ctx, address, http.MethodPost, "/reload", "", &reply); err != nil {
				return err
			}
			if !reply.Reloaded {
				for _, p := range reply.Problems {
					fmt.Fprintf(env.stderr, "igproxy: %s\n", p)
				}
				return errReported
			}
			fmt.Fprintln(env.stdout, "reloaded: "+words(reply))
			return nil
		},
	}
}

// words say what has changed, and what waits.
func words(r sidecar.ReloadReply) string {
	words := "nothing has changed"
	if len(r.Changed) > 0 {
		words = strings.Join(r.Changed, ", ")
	}
	if len(r.NeedsRestart) > 0 {
		words += "; needs a restart: " + strings.Join(r.NeedsRestart, ", ")
	}
	return words
}
