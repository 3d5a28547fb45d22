package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/proxy/admin"
)

// maxStdin bounds what is read from standard input, in bytes.
const maxStdin = 16 << 10

func purgeCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "purge",
		Usage: "make a running sidecar, and its fleet, forget remembered answers",
		Description: "Sends POST /purge over admin.socket, or to admin.listen with the token in\n" +
			"admin.token_file. With --app, clears everything that is remembered for that app; with\n" +
			"--all, for all apps; with --token-stdin, only the entries for one token or code.\n" +
			"Without these options, the command asks whether to purge all apps; if standard input\n" +
			"is not a terminal, it purges nothing. Later requests go to Meta again. The other\n" +
			"sidecars on the same Redis forget within about a second. If the sidecar cannot reach\n" +
			"Redis, only this sidecar forgets at first, and the command exits with 1. If the same\n" +
			"purge ran less than ten seconds ago, this one takes effect when the ten seconds are\n" +
			"over. A purge with --token-stdin always takes effect at once.",
		Flags: append(adminFlags(10*time.Second),
			&cli.BoolFlag{Name: "all", Usage: "purge everything that is remembered for all apps, without asking", DisableDefaultText: true},
			&cli.StringFlag{Name: "app", Usage: "purge only the app `NAME`"},
			&cli.BoolFlag{Name: "token-stdin", Usage: "purge only the token or code read from standard input", DisableDefaultText: true}),
		Action: func(c *cli.Context) error {
			form, narrowed := url.Values{}, c.IsSet("app") || c.Bool("token-stdin")
			switch {
			case c.Bool("all") && narrowed:
				return usageError("--all purges everything for all apps; leave it out to purge one app or one token")
			case !c.Bool("all") && !narrowed:
				if err := confirmPurge(env); err != nil {
					return err
				}
			}
			if c.IsSet("app") {
				if c.String("app") == "" { // an unset shell variable must not purge all apps
					return usageError("--app: write the app's name, or leave --app out to purge all apps")
				}
				form.Set("app", c.String("app"))
			}
			if c.Bool("token-stdin") {
				token, err := readToken(env.stdin)
				if err != nil {
					return err
				}
				form.Set("access_token", token)
			}
			var response admin.PurgeResponse
			if err := operate(c, env, "purge", form.Encode(), &response); err != nil {
				return err
			}
			return printPurge(response, env.stdout)
		},
	}
}

// confirmPurge asks whether to purge everything. It returns an error unless the answer is yes.
func confirmPurge(env environment) error {
	if !env.interactive {
		return usageError("purge makes the whole fleet forget everything for all apps; confirm that with --all, " +
			"or choose what to purge with --app or --token-stdin")
	}
	fmt.Fprint(env.stderr, "This makes the sidecar, and all other sidecars on the same Redis, forget everything for all apps.\n"+
		"Each token in use is then exchanged again. Continue? [y/N] ")
	answer, _ := bufio.NewReader(io.LimitReader(env.stdin, maxStdin)).ReadString('\n')
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errors.New("nothing was purged")
	}
	return nil
}

// readToken reads one token from in. A token is never an argument, because other users can read
// command lines.
func readToken(in io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(in, maxStdin+1))
	if err != nil {
		return "", errors.New("--token-stdin: cannot read standard input")
	}
	token := strings.TrimSpace(string(text))
	bad := func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }
	if token == "" || len(text) > maxStdin || strings.ContainsFunc(token, bad) {
		return "", usageError("--token-stdin: write one token to standard input")
	}
	return token, nil
}

func printPurge(response admin.PurgeResponse, out io.Writer) error {
	if response.Purged == "later" {
		_, err := fmt.Fprintf(out, "the same purge ran less than ten seconds ago, so this one takes effect in %d s\n", response.InSeconds)
		return err
	}
	what := map[string]string{"all": "everything", "token": "the token"}[response.Purged]
	if what == "" {
		return fmt.Errorf("nothing was purged: %s", response.Problem)
	}
	apps := "app"
	if len(response.Apps) > 1 {
		apps = "apps"
	}
	what += " for " + apps + ` "` + strings.Join(response.Apps, `", "`) + `"`
	if n := response.Entries; n != nil {
		what += fmt.Sprintf(" (entries in this sidecar's memory: %d)", *n)
	}
	switch response.Fleet {
	case "notified":
		what += "; the other sidecars on this Redis forget within seconds"
	case "none":
	default:
		return fmt.Errorf("purged %s, but only in this sidecar: %s. If this sidecar is still running "+
			"when Redis works again, it notifies the other sidecars", what, strings.TrimPrefix(response.Problem, "redis purge: "))
	}
	_, err := fmt.Fprintf(out, "purged: %s\n", what)
	return err
}
