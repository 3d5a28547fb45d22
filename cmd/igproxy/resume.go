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
			"that app for a while: as long as Meta says, but at most an hour, or a minute if Meta\n" +
			"does not say. Calls that are passed through continue. Use this if the limit has ended\n" +
			"earlier. If it has not ended, the next call begins another pause. Other sidecars are\n" +
			"not affected.",
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
			var reply admin.ResumeReply
			if err := operate(c, env, "resume", form.Encode(), &reply); err != nil {
				return err
			}
			return printResume(reply, env.stdout)
		},
	}
}

func printResume(reply admin.ResumeReply, out io.Writer) error {
	if reply.Problem != "" {
		return errors.New("nothing was resumed: " + reply.Problem)
	}
	if len(reply.Resumed) == 0 {
		fmt.Fprintln(out, "no app was paused")
	}
	const clock = "15:04:05 MST"
	for _, p := range reply.Resumed {
		fmt.Fprintf(out, "resumed: app %q, which was paused at %s until %s (code %d)\n",
			p.App, p.Since.Local().Format(clock), p.Until.Local().Format(clock), p.Code)
	}
	return nil
}
