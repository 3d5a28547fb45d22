package main

import (
	"cmp"
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
		Usage: "make a running sidecar read its configuration again",
		Description: "Sends POST /reload to admin.listen, on this machine; SIGHUP does the same. A\n" +
			"changed file is found within seconds without either. Prints what has changed and\n" +
			"what needs a restart. If the configuration is wrong, nothing changes: it prints\n" +
			"the problems and exits with 1. It does not need the client secret.",
		Flags: adminFlags(10 * time.Second),
		Action: func(c *cli.Context) error {
			var reply sidecar.ReloadReply
			if _, err := callAdmin(c, env, http.MethodPost, "/reload", "", &reply); err != nil {
				return err
			}
			if !reply.Reloaded {
				for _, p := range reply.Problems {
					fmt.Fprintf(env.stderr, "igproxy: %s\n", p)
				}
				return errReported
			}
			changed := cmp.Or(strings.Join(reply.Changed, ", "), "nothing has changed")
			if len(reply.NeedsRestart) > 0 {
				changed += "; needs a restart: " + strings.Join(reply.NeedsRestart, ", ")
			}
			fmt.Fprintln(env.stdout, "reloaded: "+changed)
			return nil
		},
	}
}
