package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/sidecar"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/tracing"
)

func checkCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "check",
		Usage: "report all configuration problems at once",
		Description: "Reads the configuration as igproxy serve would, but does not listen. With\n" +
			"--online it also tests Redis, and calls Meta with an invalid token for each app,\n" +
			"which tests the connection, TLS and the client secret. If an app exchanges\n" +
			"codes, a call with an invalid code tests the connection and TLS to the login\n" +
			"host. With --show it also prints every setting, its value, and where it comes\n" +
			"from: a line of the file, a variable, the key that names a secret's file, or the\n" +
			"default. No secret is printed.",
		Flags: []cli.Flag{configFlag(),
			&cli.BoolFlag{Name: "show", Usage: "print each setting with its value and where it comes from", DisableDefaultText: true},
			&cli.BoolFlag{Name: "online", Usage: "also test Redis, TLS to Meta and the client secrets", DisableDefaultText: true}},
		Action: func(c *cli.Context) error {
			r := &report{out: env.stdout}
			conf, problems := config.Load(c.String("config"), env.environ)
			for _, p := range problems {
				r.problem(p)
			}
			if c.Bool("show") {
				r.show(conf)
			}
			egress, err := sidecar.Egress(conf)
			if err != nil {
				r.result("egress", err)
			}
			if r.failed > 0 {
				return r.fail(errConfiguration)
			}
			traces := "traces off"
			if collector := tracing.Collector(os.Getenv); collector != "" {
				traces = "traces on, to " + collector
			}
			lines := []string{"listen " + strings.Join(conf.Listen, ", ") + ", admin " + conf.Admin.Listen, "open to " + conf.OpenTo()}
			if conf.Intercept.Listen != "" {
				lines = append(lines, "intercept "+interception(conf))
			}
			r.print("ok", "configuration", append(lines, "operations "+conf.Operations(), "apps "+conf.AppNames(),
				"upstream "+strings.Join(conf.Upstreams(), ", "), "egress "+egress, "cache "+conf.CacheTiers(), "keep "+conf.Kept(), traces)...)
			for _, problem := range tracing.Misfits(os.Getenv) {
				r.print("warning", "environment: "+problem)
			}
			if !c.Bool("online") {
				return nil
			}
			if conf.Redis.Mode != "" {
				r.result("redis", sidecar.CheckRedis(c.Context, conf))
			}
			results, err := sidecar.CheckUpstream(c.Context, conf, readBuild().Version)
			if err != nil {
				r.result("upstream", err)
			}
			for _, p := range results {
				r.result(p.Part, p.Err)
			}
			if r.failed > 0 {
				return r.fail(errReported)
			}
			return nil
		},
	}
}

// interception returns the address of the intercepting listener, its authority, and what igproxy
// does with calls to other hosts.
func interception(conf config.Config) string {
	c := conf.Intercept
	a, err := config.ReadAuthority(c.CAFile, c.CAKeyFile)
	if err != nil { // unlikely: Load has just read the same files
		return c.Listen
	}
	return fmt.Sprintf("%s, authority %.11s... until %s, other hosts: %s", c.Listen, a.Fingerprint(), a.Ends().UTC().Format(time.DateOnly), c.Others)
}

// report prints the results of igproxy check, and counts the errors.
type report struct {
	out    io.Writer
	failed int
}

func (r *report) print(verdict, text string, below ...string) {
	fmt.Fprintf(r.out, "%-7s  %s\n", verdict, text)
	for _, line := range below {
		fmt.Fprintf(r.out, "         %s\n", line)
	}
}

func (r *report) result(part string, err error) {
	if err != nil {
		r.failed++
		r.print("error", part+": "+err.Error())
		return
	}
	r.print("ok", part)
}

// problem prints a problem, and its fix on a separate line.
func (r *report) problem(p config.Problem) {
	verdict := "warning"
	if !p.Warning {
		verdict = "error"
		r.failed++
	}
	fix := p.Fix
	p.Fix = ""
	r.print(verdict, p.String(), fix)
}

// show prints every setting in columns: key, value, origin.
func (r *report) show(conf config.Config) {
	columns := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', 0)
	for _, s := range conf.Effective() {
		fmt.Fprintf(columns, "%s\t%s\t%s\n", s[0], cmp.Or(printable(s[1]), "-"), s[2])
	}
	_ = columns.Flush()
	fmt.Fprintln(r.out)
}

// fail prints the number of errors and returns err, which sets the exit code.
func (r *report) fail(err error) error {
	fmt.Fprintf(r.out, "\nErrors to fix: %d.\n", r.failed)
	return err
}
