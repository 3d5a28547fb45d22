// Command peers compares igproxy with nginx, Varnish, bare handlers of net/http and fasthttp, and
// an epoll loop in C, all on this machine. It prints one table with medians, ratios to nginx in the
// same run, the goals, and whether each goal is met. A missed goal does not change the exit code.
//
//	go run -C tools ./peers                    all parts, as in make bench-peers
//	go run -C tools ./peers -quick             the same with fewer and shorter rounds
//	go run -C tools ./peers -only hits,redis   only these parts; writes no files
//	go run -C tools ./peers -render            writes the pages without measuring
//
// A run of all parts writes docs/performance.json, the tables in docs/performance.md and README.md,
// and docs/performance.svg.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

func main() {
	if len(os.Args) > 1 && slices.Contains([]string{"origin", "bare", fasthttpName}, os.Args[1]) {
		if err := helper(os.Args[1], os.Args[2:]); err != nil {
			fail(err)
		}
		return
	}
	root := flag.String("root", "..", "the `folder` of the repository")
	quick := flag.Bool("quick", false, "fewer and shorter rounds")
	only := flag.String("only", "", "measure only these `parts` (separated by commas), and write no files; the parts are "+partNames())
	render := flag.Bool("render", false, "write the pages from docs/performance.json without measuring")
	flag.Parse()
	docs := filepath.Join(*root, "docs")
	if *render {
		r, err := readReport(docs)
		if err == nil {
			err = r.write(docs)
		}
		if err != nil {
			fail(err)
		}
		return
	}
	if err := pinSelf(); err != nil {
		fail(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	r, err := measure(ctx, *root, *quick, *only)
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	stop()
	if err != nil {
		fail(err)
	}
	fmt.Print(r.markdown())
	if *only == "" {
		if err := r.write(docs); err != nil {
			fail(err)
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "peers:", err)
	os.Exit(1)
}

// part is a group of measurements that -only can name.
type part struct {
	name string
	run  func(*bench) error
}

var parts = []part{
	{"hits", (*bench).hits},
	{"redis", (*bench).redisHits},
	{"burst", (*bench).bursts},
	{"miss", (*bench).misses},
	{"size", (*bench).sizes},
	{"scale", (*bench).scale},
}

func partNames() string {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return strings.Join(names, ", ")
}

func measure(ctx context.Context, root string, quick bool, only string) (*report, error) {
	b, err := newBench(ctx, root, quick)
	if err != nil {
		return nil, err
	}
	defer b.close()
	wanted := map[string]bool{}
	for _, name := range strings.FieldsFunc(only, func(r rune) bool { return r == ',' }) {
		wanted[name] = true
	}
	meter := newMeter()
	for _, p := range parts {
		if only != "" && !wanted[p.name] {
			continue
		}
		delete(wanted, p.name)
		fmt.Fprintln(os.Stderr, "==", p.name)
		if err := errors.Join(p.run(b), b.stopAll()); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	b.report.Others = meter.others()
	for name := range wanted {
		return nil, fmt.Errorf("-only: unknown part %q; the parts are %s", name, partNames())
	}
	return &b.report, nil
}
