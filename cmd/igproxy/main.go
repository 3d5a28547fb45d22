// Command igproxy is a caching sidecar for Meta's token endpoints. An app uses igproxy as its base
// URL, and igproxy adds the client secret, asks Meta once, and remembers the answer. This package
// is the command line, one file per command. The serve command runs package internal/sidecar.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/logging"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // the command ran and failed
	exitUsage  = 2 // wrong command line or configuration
)

// Errors that print nothing, because the command has already printed the problems.
var (
	errReported      = cli.Exit("", exitFailed)
	errConfiguration = cli.Exit("", exitUsage)
)

func main() {
	os.Exit(run(context.Background(), os.Args, environment{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(),
		interactive: logging.IsTerminal(os.Stdin)}))
}

// environment has a command's standard streams, and the environment variables from which it reads
// its settings. Tests replace them.
type environment struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
	interactive    bool // stdin is a terminal
}

// run runs a command line and returns the exit code.
func run(ctx context.Context, args []string, env environment) int {
	err := newApp(env).RunContext(ctx, args)
	if err == nil {
		return exitOK
	}
	if text := err.Error(); text != "" {
		fmt.Fprintf(env.stderr, "igproxy: %s\n", printable(text))
	}
	var coded cli.ExitCoder
	if errors.As(err, &coded) {
		return min(coded.ExitCode(), exitUsage) // urfave/cli uses 3 for help about an unknown command
	}
	return exitFailed
}

// usageError returns an error about the command line or the configuration.
func usageError(format string, args ...any) error {
	return cli.Exit(fmt.Sprintf(format, args...), exitUsage)
}

func newApp(env environment) *cli.App {
	build := readBuild()
	app := &cli.App{
		Name:                 "igproxy",
		Usage:                "a sidecar that holds an app's Meta client secret, so that the app does not have to",
		Version:              build.Version + " (commit " + build.Commit + ", " + build.Go + ")",
		EnableBashCompletion: true,
		Suggest:              true,
		Writer:               env.stdout,
		ErrWriter:            env.stderr,
		Description: "Point an app's base URL at igproxy, and make token calls such as GET /access_token\n" +
			"as you would make them to Meta, for Instagram Login, Facebook Login or Threads.\n" +
			"igproxy adds the client secret, joins concurrent calls with the same token into one,\n" +
			"remembers the answer, and keeps serving known tokens when Redis or Meta fails.\n\n" +
			"To see it work:  igproxy demo\n" +
			"Exit codes: 0 ok; 1 failed; 2 the command line or the configuration is wrong\n" +
			"(if the configuration is wrong, healthcheck exits with 1).",
		Commands: []*cli.Command{serveCommand(env), demoCommand(env), mockCommand(env), checkCommand(env), healthcheckCommand(env),
			statusCommand(env), reloadCommand(env), purgeCommand(env), resumeCommand(env), caCommand(env)},
		ExitErrHandler: func(*cli.Context, error) {}, // run returns the code
		OnUsageError:   onUsageError,
	}
	app.Action = func(c *cli.Context) error {
		if name := c.Args().First(); name != "" {
			return usageError("unknown command %q; see igproxy --help. %s", name, cli.SuggestCommand(app.Commands, name))
		}
		return cli.ShowAppHelp(c)
	}
	for _, c := range app.Commands {
		if len(c.Subcommands) == 0 {
			refuseArguments(c)
		}
	}
	return app
}

func onUsageError(c *cli.Context, err error, _ bool) error {
	return usageError("%v; see %s --help", err, c.Command.HelpName)
}

// refuseArguments makes leftover arguments an error, because urfave/cli silently ignores every flag
// after an argument.
func refuseArguments(c *cli.Command) {
	action := c.Action
	c.OnUsageError = onUsageError
	c.HideHelpCommand = true
	c.Action = func(ctx *cli.Context) error {
		if ctx.Args().Present() {
			name := ctx.Command.HelpName
			return usageError("%s takes no argument, got %q; see %s --help", strings.TrimPrefix(name, "igproxy "), ctx.Args().First(), name)
		}
		return action(ctx)
	}
}
