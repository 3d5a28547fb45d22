package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/proxy"
)

func statusCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "show what a running sidecar has done in the last 15 minutes",
		Description: "Asks /status on admin.listen, which has a page of the same at /, and shows\n" +
			"requests, hits, times, breakers, Redis and rate limits. It does not need the\nclient secret.",
		Flags: []cli.Flag{configFlag(),
			&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "show it again and again, until a signal comes"},
			&cli.DurationFlag{Name: "every", Value: 2 * time.Second, Usage: "with --watch: every `TIME`"},
			&cli.BoolFlag{Name: "json", Usage: "print the answer of /status as it is"},
			&cli.DurationFlag{Name: "timeout", Value: 2 * time.Second, Usage: "wait `TIME` for an answer, at most"}},
		Action: func(c *cli.Context) error {
			for _, name := range []string{"timeout", "every"} {
				if c.Duration(name) <= 0 {
					return &usageError{"--" + name + ": write a time above 0, such as 2s"}
				}
			}
			config, err := onlyAdmin(c, env)
			if err != nil {
				return err
			}
			s := statusReader{address: config.Admin.Listen, timeout: c.Duration("timeout"), json: c.Bool("json"), out: env.stdout}
			if !c.Bool("watch") {
				return s.show(c.Context)
			}
			ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
			defer stop()
			return s.watch(ctx, c.Duration("every"), isTerminal(env.stdout) && !s.json)
		},
	}
}

// onlyAdmin reads the configuration for a command that asks the admin listener: what else is wrong with it is not this command's business.
func onlyAdmin(c *cli.Context, env environment) (Config, error) {
	config, problems := loadConfig(c.String("config"), env.environ)
	for _, p := range problems {
		if !p.Warning && (p.Key == "admin.listen" || p.Key == "") {
			return config, &usageError{p.String()}
		}
	}
	return config, nil
}

// statusReader reads /status and writes it for people, or as it is.
type statusReader struct {
	address string
	timeout time.Duration
	json    bool
	out     io.Writer
}

// What a terminal is told: the other screen and back, without a cursor; to the top left; the rest of a line, and of the screen, is blank.
const (
	otherScreen = "\x1b[?1049h\x1b[?25l"
	firstScreen = "\x1b[?25h\x1b[?1049l"
	toTheTop    = "\x1b[H"
	blankLine   = "\x1b[K\n"
	blankRest   = "\x1b[J"
)

// show asks once.
func (s statusReader) show(ctx context.Context) error {
	text, err := s.read(ctx)
	if err != nil {
		return err
	}
	_, err = io.WriteString(s.out, text)
	return err
}

// watch shows it until ctx ends. A sidecar that does not answer is no reason to stop: it may be restarting, and whoever watches wants to see
// it come back.
func (s statusReader) watch(ctx context.Context, every time.Duration, terminal bool) error {
	if terminal {
		_, _ = io.WriteString(s.out, otherScreen)
		defer func() { _, _ = io.WriteString(s.out, firstScreen) }()
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		text, err := s.read(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			text = err.Error() + "\n"
		}
		if terminal {
			text = onScreen(text)
		} else if !s.json {
			text += "\n"
		}
		if _, err := io.WriteString(s.out, text); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// maxPicture bounds the answer of /status, in bytes.
const maxPicture = 1 << 20

func (s statusReader) read(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	res, err := askAdmin(ctx, s.address, http.MethodGet, "/status")
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxPicture))
	var p proxy.Picture
	if err != nil || res.StatusCode != http.StatusOK || json.Unmarshal(text, &p) != nil || len(p.Outcomes) != len(p.Live.Counts) {
		return "", fmt.Errorf("%s answered, but not as igproxy does; check admin.listen", s.address)
	}
	if s.json {
		return string(text), nil
	}
	return strings.Map(func(r rune) rune { // whatever answered there: nothing of it steers a terminal
		if isControl(r) && r != '\n' {
			return -1
		}
		return r
	}, drawn(p)), nil
}
