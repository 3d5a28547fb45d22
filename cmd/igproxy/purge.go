package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/proxy/admin"
)

// maxStdin bounds what is read from standard input for one token, in bytes.
const maxStdin = 16 << 10

func purgeCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "purge",
		Usage: "have a running sidecar, and its fleet, forget what is remembered",
		Description: "Asks POST /purge on admin.listen, on this machine. Without --token-stdin all\n" +
			"answers are forgotten, else those for the one token or code on standard input.\n" +
			"The other sidecars on the same Redis forget within seconds; exits with 1 when\n" +
			"Redis could not be told. What apps ask for then is exchanged once more.",
		Flags: []cli.Flag{configFlag(), timeoutFlag(10 * time.Second),
			&cli.StringFlag{Name: "app", Usage: "of several apps, only the one called `NAME`"},
			&cli.BoolFlag{Name: "token-stdin", Usage: "only the token read from standard input", DisableDefaultText: true}},
		Action: func(c *cli.Context) error {
			address, err := adminAddress(c, env)
			if err != nil {
				return err
			}
			form := url.Values{}
			if c.IsSet("app") {
				if c.String("app") == "" { // a variable that is not set, and would purge all apps
					return &usageError{"--app: write the app's name, or leave --app out to purge all apps"}
				}
				form.Set("app", c.String("app"))
			}
			if c.Bool("token-stdin") {
				token, err := tokenFrom(env.stdin)
				if err != nil {
					return err
				}
				form.Set("access_token", token)
			}
			ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
			defer cancel()
			var reply admin.PurgeReply
			if _, err := askAdmin(ctx, address, http.MethodPost, "/purge", form.Encode(), &reply); err != nil {
				return err
			}
			return purged(reply, env)
		},
	}
}

// tokenFrom reads one token. It is never an argument: other users can read command lines.
func tokenFrom(in io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(in, maxStdin+1))
	token := strings.TrimSpace(string(text))
	switch {
	case err != nil:
		return "", fmt.Errorf("--token-stdin: standard input cannot be read")
	case token == "" || len(text) > maxStdin || strings.ContainsFunc(token, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
		return "", &usageError{"--token-stdin: write one token to standard input"}
	}
	return token, nil
}

func purged(reply admin.PurgeReply, env environment) error {
	what := map[string]string{"all": "everything", "token": "the token"}[reply.Purged]
	if what == "" {
		return fmt.Errorf("nothing was purged: %s", reply.Problem)
	}
	what += " of " + strings.Join(reply.Apps, ", ")
	switch reply.Fleet {
	case "told":
		fmt.Fprintf(env.stdout, "purged: %s; the other sidecars on this Redis forget within seconds\n", what)
	case "none":
		fmt.Fprintf(env.stdout, "purged: %s\n", what)
	default:
		return fmt.Errorf("purged %s in this sidecar only: the others could not be told (%s); they are as soon as Redis answers, if this sidecar still runs then", what, reply.Problem)
	}
	return nil
}
