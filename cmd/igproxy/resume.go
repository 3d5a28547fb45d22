package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/proxy/admin"
)

func resumeCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "resume",
		Usage: "end the pauses that rate limits caused in a running sidecar",
		Description: "Sends POST /resume over admin.socket, or to admin.listen with the token in\n" +
			"admin.token_file. When Meta limits an app, igproxy makes no token calls for\n" +
			"that app until the time that Meta gives, but for at most an hour. If Meta gives no\n" +
			"time, the pause lasts a minute. Calls that are passed through continue. Use this\n" +
			"command if the limit has ended earlier. If it has not ended, the next call begins\n" +
			"another pause. Other sidecars are not affected.",
		Flags: append(adminFlags(10*time.Second),
			&cli.StringFlag{Name: "app", Usage: "resume only the app `NAME`"}),
		Action: func(c *cli.Context) error {
			form := url.Values{}
			if c.IsSet("app") {
				if c.String("app") == "" { // an unset shell variable must not resume all apps
					return usageError("--app: write the app's name, or leave --app out to resume all apps")
				}
				form.Set("app", c.String("app"))
			}
			var response admin.ResumeResponse
			if err := operate(c, env, "resume", form.Encode(), &response); err != nil {
				return err
			}
			return printResume(response, c.String("app"), env.stdout)
		},
	}
}

// printResume prints which pauses have ended. app is the value of --app, or empty for all apps.
func printResume(response admin.ResumeResponse, app string, out io.Writer) error {
	if response.Problem != "" {
		return errors.New("nothing was resumed: " + response.Problem)
	}
	switch {
	case len(response.Resumed) == 0 && app != "":
		fmt.Fprintf(out, "app %q was not paused\n", app)
	case len(response.Resumed) == 0:
		fmt.Fprintln(out, "no app was paused")
	}
	const clock = "15:04:05 MST"
	for _, p := range response.Resumed {
		fmt.Fprintf(out, "resumed: app %q, which was paused at %s until %s (code %d)\n",
			p.App, p.Since.Local().Format(clock), p.Until.Local().Format(clock), p.Code)
	}
	return nil
}
