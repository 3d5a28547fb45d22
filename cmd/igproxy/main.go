// Command igproxy is a caching sidecar for Instagram's token endpoint: an app points its base URL at
// it, and igproxy adds the client secret, asks Instagram once, and remembers the answer. This package
// is the command line, one file per command; internal/sidecar is what serve runs.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // it ran and failed
	exitUsage  = 2 // wrong usage or configuration
)

func main() {
	os.Exit(run(context.Background(), os.Args, environment{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ()}))
}

// environment is what a command sees of the world, so that tests can stand in for it.
type environment struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
}

// get returns a variable; the last one wins, as it does in a shell.
func (e environment) get(name string) (value string) {
	for _, entry := range e.environ {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			value = v
		}
	}
	return value
}

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string, env environment) int {
	err := newApp(env).RunContext(ctx, args)
	var usage *usageError
	var library cli.ExitCoder // help for an unknown command
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errReported):
		return exitFailed
	case errors.Is(err, errConfiguration):
		return exitUsage
	case errors.As(err, &usage), errors.As(err, &library):
		fmt.Fprintf(env.stderr, "igproxy: %v\n", err)
		return exitUsage
	}
	fmt.Fprintf(env.stderr, "igproxy: %v\n", err)
	return exitFailed
}

var (
	// errReported ends a command whose failure has been told already.
	errReported = errors.New("reported")
	// errConfiguration ends a command whose configuration problems have been told already.
	errConfiguration = errors.New("configuration")
)

// usageError is a wrong command line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func newApp(env environment) *cli.App {
	app := &cli.App{
		Name:                 "igproxy",
		Usage:                "the sidecar that holds the Instagram app secret so that no app has to",
		HideVersion:          true, // --version below prints what the version command does
		EnableBashCompletion: true,
		Suggest:              true,
		Writer:               env.stdout,
		ErrWriter:            env.stderr,
		Description: "Point an app's base URL at igproxy and call GET /access_token as you would call\n" +
			"Instagram. igproxy adds the client secret, joins concurrent exchanges into one,\n" +
			"remembers the answer, and keeps answering when Redis or Instagram fail.\n\n" +
			"To see it work:  igproxy demo\n" +
			"Exit codes: 0 ok, 1 failed, 2 wrong usage or configuration.",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "version", Usage: "print the version", DisableDefaultText: true}},
		Commands: []*cli.Command{serveCommand(env), demoCommand(env), mockCommand(env), checkCommand(env), healthcheckCommand(env),
			statusCommand(env), reloadCommand(env), purgeCommand(env), versionCommand(env)},
		ExitErrHandler: func(*cli.Context, error) {}, // run exits
		OnUsageError:   usage,
	}
	app.Action = func(c *cli.Context) error {
		switch {
		case c.Args().Present():
			name := c.Args().First()
			return &usageError{fmt.Sprintf("unknown command %q; see igproxy --help. %s", name, cli.SuggestCommand(app.Commands, name))}
		case c.Bool("version"):
			return printVersion(env)
		}
		return cli.ShowAppHelp(c)
	}
	for _, c := range app.Commands {
		strict(c)
	}
	return app
}

// usage says where the help of the command is.
func usage(c *cli.Context, err error, _ bool) error {
	return &usageError{fmt.Sprintf("%v; see %s --help", err, c.Command.HelpName)}
}

// strict makes leftover arguments an error: urfave/cli swallows every flag that follows one.
func strict(c *cli.Command) {
	action := c.Action
	c.OnUsageError = usage
	c.HideHelpCommand = true
	c.Action = func(ctx *cli.Context) error {
		if ctx.Args().Present() {
			return &usageError{fmt.Sprintf("%s takes no argument, got %q; see igproxy %s --help", c.Name, ctx.Args().First(), c.Name)}
		}
		return action(ctx)
	}
}
