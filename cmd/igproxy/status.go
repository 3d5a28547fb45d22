package main

import (
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/proxy/admin"
)

func statusCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "show what a running sidecar did in the last 15 minutes",
		Description: "Reads /status on admin.listen and shows alerts, requests, apps, breakers,\n" +
			"Redis, rate limits, outages and failures. The command does not need the\n" +
			"client secret. The page at / has charts too. For a live view: watch igproxy status",
		Flags: append(adminFlags(2*time.Second),
			&cli.BoolFlag{Name: "json", Usage: "print the response of /status as JSON", DisableDefaultText: true}),
		Action: func(c *cli.Context) error {
			var s admin.Status
			if _, err := readAdmin(c, env, "/status", &s); err != nil {
				return err
			}
			if s.Started.IsZero() {
				return errors.New("the response is not an igproxy status; check admin.listen")
			}
			if c.Bool("json") {
				return json.NewEncoder(env.stdout).Encode(s)
			}
			_, err := io.WriteString(env.stdout, printable(statusText(s)))
			return err
		},
	}
}
