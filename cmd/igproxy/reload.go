package main

import (
	"crypto/sha256"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/igproxy/igproxy/proxy"
)

// reloader makes a changed configuration take effect without a restart: on SIGHUP, on POST /reload, and by itself when the configuration
// file or a file that it names has changed. The environment is that of the process and does not change.
//
// What cannot be used changes nothing: the configuration of before goes on, each problem is logged with its line, a metric says so, and
// the files are looked at until they are right.
type reloader struct {
	origin
	apply   func(Config) error // makes it take effect as a whole, or not at all
	metrics *proxy.Metrics
	log     *slog.Logger

	mu      sync.Mutex // protects all below: one reload at a time
	running loaded     // what is in use
	read    loaded     // what was read last: in use, refused, or waiting for a restart
	failing bool
	told    []string // the problems that the log knows
	seen    stamps   // when that was read
	settled bool     // and whether it could not have been written again within the same tick
	now     stamps   // at the last look
}

// origin is where a configuration comes from, and what asks for it anew.
type origin struct {
	path   string                     // of the file; empty: there is none
	load   func() (Config, []Problem) // the file and the environment; nil: never anew
	hangup <-chan os.Signal           // SIGHUP
}

// loaded is a configuration as it was read.
type loaded struct {
	config   Config
	problems []string                     // that are no warnings
	digests  map[string][sha256.Size]byte // of the files whose content config does not hold
}

// reloadReply is what POST /reload answers. Keys are named, never their values.
type reloadReply struct {
	Reloaded     bool     `json:"reloaded"`
	Changed      []string `json:"changed"`
	NeedsRestart []string `json:"needs_restart"`
	Problems     []string `json:"problems"`
}

func newReloader(config Config, from origin, metrics *proxy.Metrics, log *slog.Logger) *reloader {
	metrics.Reloaded(true)
	r := &reloader{origin: from, metrics: metrics, log: log}
	r.running = loaded{config: config, digests: config.digests()}
	r.read = r.running
	r.seen = r.look()
	r.settled = r.seen.settled() // if not, it is read again soon: it may have changed since it was loaded
	return r
}

// config in use.
func (r *reloader) config() Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running.config
}

// start follows the files and the signal until stop, which waits for a reload under way.
func (r *reloader) start() (stop func()) {
	ending, ended := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		defer close(ended)
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				r.follow()
			case <-r.hangup:
				r.reload()
			case <-ending:
				return
			}
		}
	}()
	return sync.OnceFunc(func() { close(ending); <-ended })
}

// look stamps the files that matter: the configuration's own, and those that it named when it was read last.
func (r *reloader) look() stamps {
	var paths []string
	for _, f := range append([]namedFile{{path: r.path}}, r.read.config.namedFiles()...) {
		if f.path != "" {
			paths = append(paths, f.path)
		}
	}
	return stampsOf(paths)
}

// follow reads what has changed, once it has stopped changing: a file that is being written is left alone until the next look.
func (r *reloader) follow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.now
	r.now = r.look()
	if (r.failing || !r.settled || !same(r.now, r.seen)) && same(r.now, before) {
		r.turn(false)
	}
}

// reload reads and applies everything now.
func (r *reloader) reload() reloadReply {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.turn(true)
}

// turn is one reload. Unless it was asked for, it does nothing when what it reads is what was read before.
func (r *reloader) turn(asked bool) reloadReply {
	seen := r.look()
	config, problems := r.load()
	next := loaded{config, failures(problems), config.digests()}
	again := reflect.DeepEqual(next, r.read) // behind the pointers of Secrets, too
	r.read, r.seen, r.settled = next, seen, seen.settled()
	if now := r.look(); len(now) != len(seen) { // it names other files than before
		r.seen, r.settled = now, false
	}
	switch {
	case again && !asked && !r.failing:
		return reloadReply{}
	case len(next.problems) > 0:
		return r.refuse(asked, problems)
	}
	held := config.hold(r.running.config)
	reply := reloadReply{Reloaded: true, Problems: []string{}, NeedsRestart: []string{}, Changed: []string{}}
	for _, key := range differences(r.running, next) {
		if slices.Contains(held, key) || waitsForRestart(key) {
			reply.NeedsRestart = append(reply.NeedsRestart, key)
		} else {
			reply.Changed = append(reply.Changed, key)
		}
	}
	if err := r.apply(config); err != nil {
		return r.refuse(asked, []Problem{{What: err.Error()}})
	}
	r.use(config, next.digests)
	for _, p := range problems {
		r.log.Warn("configuration", "where", p.Where, "key", p.Key, "what", p.What, "next_step", p.Fix)
	}
	r.log.Info("configuration reloaded", "changed", reply.Changed)
	if len(reply.NeedsRestart) > 0 {
		r.log.Warn("needs a restart: " + strings.Join(reply.NeedsRestart, ", "))
	}
	return reply
}

// use notes what is in use now. Of a file that waits for a restart it is still what it was.
func (r *reloader) use(config Config, digests map[string][sha256.Size]byte) {
	digests = maps.Clone(digests)
	for _, f := range config.plainFiles() {
		if was, ok := r.running.digests[f.key]; ok && waitsForRestart(f.key) {
			digests[f.key] = was
		}
	}
	r.running, r.failing, r.told = loaded{config: config, digests: digests}, false, nil
	r.metrics.Reloaded(true)
}

// failures are the problems that are no warnings.
func failures(problems []Problem) (told []string) {
	for _, p := range problems {
		if !p.Warning {
			told = append(told, p.String())
		}
	}
	return told
}

// refuse says what is wrong, each with its line, and leaves everything as it was. What is tried again by itself is told once.
func (r *reloader) refuse(asked bool, problems []Problem) reloadReply {
	told := failures(problems)
	known := slices.Equal(told, r.told)
	r.failing, r.told = true, told
	r.metrics.Reloaded(false)
	if asked || !known {
		for _, p := range problems {
			if !p.Warning {
				r.log.Error("configuration", "where", p.Where, "key", p.Key, "what", p.What, "next_step", p.Fix)
			}
		}
		r.log.Error("the configuration was not reloaded; the one of before goes on", "problems", len(told))
	}
	return reloadReply{Changed: []string{}, NeedsRestart: []string{}, Problems: told}
}
