package sidecar

import (
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/proxy"
)

// reloader makes a changed configuration take effect without a restart: on SIGHUP, on POST /reload,
// and by itself when the configuration file or a file that it names has changed. The environment is
// that of the process and does not change.
//
// What cannot be used changes nothing: the configuration of before goes on, each problem is logged
// with its line, a metric says so, and the files are looked at until they are right.
type reloader struct {
	origin
	apply   func(config.Config) error // makes it take effect as a whole, or not at all
	metrics *proxy.Metrics
	log     *slog.Logger

	mu       sync.Mutex    // protects all below: one reload at a time
	running  config.Config // what is in use
	read     config.Config // what was read last: in use, refused, or waiting for a restart
	failing  bool
	reported []string      // the problems that the log knows
	seen     config.Stamps // when that was read
	stable   bool          // and whether it could not have been written again within the same tick
	now      config.Stamps // at the last look
}

// origin is where a configuration comes from, and what asks for it anew.
type origin struct {
	path    string                                   // of the file; empty: there is none
	load    func() (config.Config, []config.Problem) // the file and the environment; nil: never anew
	signals <-chan os.Signal                         // SIGHUP
}

// ReloadReply is what POST /reload answers. Keys are named, never their values.
type ReloadReply struct {
	Reloaded     bool     `json:"reloaded"`
	Changed      []string `json:"changed"`
	NeedsRestart []string `json:"needs_restart"`
	Problems     []string `json:"problems"`
}

func newReloader(conf config.Config, from origin, metrics *proxy.Metrics, log *slog.Logger) *reloader {
	metrics.Reloaded(true)
	r := &reloader{origin: from, metrics: metrics, log: log}
	r.running, r.read = conf, conf
	r.seen = r.look()
	r.stable = r.seen.Settled() // if not, it is read again soon: it may have changed since it was loaded
	return r
}

// conf in use.
func (r *reloader) conf() config.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running
}

// start follows the files and the signal until stop, which waits for a reload under way.
func (r *reloader) start() (stop func()) {
	ending, ended := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		defer close(ended)
		tick := time.NewTicker(config.LookEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				r.follow()
			case <-r.signals:
				r.reload()
			case <-ending:
				return
			}
		}
	}()
	return sync.OnceFunc(func() { close(ending); <-ended })
}

// look stamps the files that matter: the configuration's own, and those that it named when it was
// read last.
func (r *reloader) look() config.Stamps {
	paths := r.read.Files()
	if r.path != "" {
		paths = append(paths, r.path)
	}
	return config.Stamp(paths)
}

// follow reads what has changed, once it has stopped changing: a file that is being written is left
// alone until the next look.
func (r *reloader) follow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.now
	r.now = r.look()
	if (r.failing || !r.stable || !r.now.Same(r.seen)) && r.now.Same(before) {
		r.reloadOnce(false)
	}
}

// reload reads and applies everything now.
func (r *reloader) reload() ReloadReply {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reloadOnce(true)
}

// reloadOnce is one reload. Unless it was asked for, it does nothing when what it reads is what was
// read before.
func (r *reloader) reloadOnce(requested bool) ReloadReply {
	seen := r.look()
	read, problems := r.load()
	again := reflect.DeepEqual(read, r.read) // the text of each Secret too
	r.read, r.seen, r.stable = read, seen, seen.Settled()
	if now := r.look(); len(now) != len(seen) { // it names other files than before
		r.seen, r.stable = now, false
	}
	switch {
	case len(failures(problems)) > 0:
		return r.refuse(requested, problems)
	case again && !requested && !r.failing:
		return ReloadReply{}
	}
	next, changed, needsRestart := config.Merge(r.running, read)
	if err := r.apply(next); err != nil {
		return r.refuse(requested, []config.Problem{{What: err.Error()}})
	}
	r.running, r.failing, r.reported = next, false, nil
	r.metrics.Reloaded(true)
	reply := ReloadReply{Reloaded: true, Problems: []string{}, NeedsRestart: append([]string{}, needsRestart...), Changed: append([]string{}, changed...)}
	for _, p := range problems {
		r.log.Warn("configuration", "where", p.Where, "key", p.Key, "what", p.What, "next_step", p.Fix)
	}
	r.log.Info("configuration reloaded", "changed", reply.Changed)
	if len(reply.NeedsRestart) > 0 {
		r.log.Warn("needs a restart: " + strings.Join(reply.NeedsRestart, ", "))
	}
	return reply
}

// refuse says what is wrong, each with its line, and leaves everything as it was. What is tried
// again by itself is told once.
func (r *reloader) refuse(requested bool, problems []config.Problem) ReloadReply {
	reported := failures(problems)
	known := slices.Equal(reported, r.reported)
	r.failing, r.reported = true, reported
	r.metrics.Reloaded(false)
	if requested || !known {
		for _, p := range problems {
			if !p.Warning {
				r.log.Error("configuration", "where", p.Where, "key", p.Key, "what", p.What, "next_step", p.Fix)
			}
		}
		r.log.Error("the configuration was not reloaded; the one of before goes on", "problems", len(reported))
	}
	return ReloadReply{Changed: []string{}, NeedsRestart: []string{}, Problems: reported}
}

// failures returns the problems that are not warnings, in one line each.
func failures(problems []config.Problem) (lines []string) {
	for _, p := range problems {
		if !p.Warning {
			lines = append(lines, p.String())
		}
	}
	return lines
}
