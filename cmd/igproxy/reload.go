package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/sidecar"
)

func reloadCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "reload",
		Usage: "make a running sidecar read its configuration again",
		Description: "Sends POST /reload over admin.socket, or to admin.listen with the token in\n" +
			"admin.token_file. Prints what has changed and what needs a restart. If the sidecar\n" +
			"refuses the new configuration, it keeps the old one, and the command prints the\n" +
			"problems and exits with 1. The command does not need the client secret.\n\n" +
			"SIGHUP makes the sidecar reload too. Changed files are reloaded automatically\n" +
			"within seconds, without the command or the signal.",
		Flags: adminFlags(10 * time.Second),
		Action: func(c *cli.Context) error {
			var response sidecar.ReloadResponse
			if err := operate(c, env, "reload", "", &response); err != nil {
				return err
			}
			if !response.Reloaded {
				for _, p := range response.Problems {
					fmt.Fprintf(env.stderr, "igproxy: %s\n", printable(p))
				}
				return errReported
			}
			text := "reloaded"
			if len(response.Changed) > 0 || len(response.NeedsRestart) == 0 {
				text += ": " + cmp.Or(strings.Join(response.Changed, ", "), "nothing has changed")
			}
			if len(response.NeedsRestart) > 0 {
				text += "; these changes need a restart: " + strings.Join(response.NeedsRestart, ", ")
			}
			fmt.Fprintln(env.stdout, text)
			return nil
		},
	}
}
