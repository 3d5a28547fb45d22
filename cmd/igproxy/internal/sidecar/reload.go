package sidecar

import (
	"log/slog"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/proxy"
)

// reloader makes a changed configuration take effect without a restart: on SIGHUP, on POST /reload,
// and by itself when the configuration file or a file that it names has changed. Environment
// variables keep their values until a restart.
//
// A configuration with an error changes nothing: the previous one stays in use, each problem is
// logged with its line, a metric reports the failure, and the files are read again every second
// until they are valid.
type reloader struct {
	path    string                                   // of the configuration file; empty means no file
	load    func() (config.Config, []config.Problem) // nil: nothing is reloaded
	signals <-chan os.Signal                         // SIGHUP
	apply   func(config.Config) error                // makes all of the configuration take effect, or nothing
	metrics *proxy.Metrics
	log     *slog.Logger

	mu      sync.Mutex // protects the fields below; held during a reload
	running config.Config
	read    config.Config // what was read last; it may have been refused, or parts of it may wait for a restart
	refused []string      // the problems of read, if it was refused
	seen    config.Stamps // the stamps of the files when the value of read was loaded
	settled bool          // whether any write since then is certain to change the stamps
	last    config.Stamps // the stamps at the last look
}

// ReloadResponse is the response to POST /reload. It names keys, never their values.
type ReloadResponse struct {
	Reloaded     bool     `json:"reloaded"`
	Changed      []string `json:"changed"`
	NeedsRestart []string `json:"needs_restart"`
	Problems     []string `json:"problems"`
}

func newReloader(o Options, metrics *proxy.Metrics, apply func(config.Config) error) *reloader {
	metrics.Reloaded(true)
	r := &reloader{path: o.Path, load: o.Load, signals: o.Reloads, apply: apply, metrics: metrics, log: o.Log.Logger}
	r.running, r.read = o.Config, o.Config
	r.seen = r.look()
	r.settled = r.seen.Settled() // false: follow reads the files again, as a file may have changed after it was loaded
	return r
}

// conf returns the configuration in use.
func (r *reloader) conf() config.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running
}

// start watches the files and the signal until stop is called. stop waits for a running reload.
func (r *reloader) start() (stop func()) {
	ending, ended := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		defer close(ended)
		tick := time.NewTicker(config.LookEvery)
		defer tick.Stop()
		for r.load != nil {
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

// look returns the stamps of the configuration file and of the files that it named when it was last
// read.
func (r *reloader) look() config.Stamps {
	paths := r.read.Files()
	if r.path != "" {
		paths = append(paths, r.path)
	}
	return config.Stamp(paths)
}

// follow reads the configuration again if a file may have changed, or if the last reload was
// refused. It waits until two looks in a row find the same stamps, so that it does not read a file
// that is being written.
func (r *reloader) follow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.last
	r.last = r.look()
	if (len(r.refused) > 0 || !r.settled || !r.last.Same(r.seen)) && r.last.Same(before) {
		r.reloadOnce(false)
	}
}

// reload reads and applies everything now.
func (r *reloader) reload() ReloadResponse {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reloadOnce(true)
}

// reloadOnce reads the configuration and applies it. requested is true for SIGHUP and POST /reload.
// A reload that was not requested applies nothing if the last configuration was accepted and the
// new one is the same.
func (r *reloader) reloadOnce(requested bool) ReloadResponse {
	seen := r.look()
	read, problems := r.load()
	again := reflect.DeepEqual(read, r.read) // compares the text of each Secret, too
	r.read, r.seen, r.settled = read, seen, seen.Settled()
	if now := r.look(); len(now) != len(seen) { // the configuration names more or fewer files than before
		r.seen, r.settled = now, false
	}
	switch {
	case len(failures(problems)) > 0:
		return r.refuse(requested, problems)
	case again && !requested && len(r.refused) == 0:
		return ReloadResponse{}
	}
	next, changed, needsRestart := config.Merge(r.running, read)
	if err := r.apply(next); err != nil {
		return r.refuse(requested, []config.Problem{{What: err.Error()}})
	}
	r.running, r.refused = next, nil
	r.metrics.Reloaded(true)
	for _, p := range problems {
		r.log.Warn("configuration problem", "where", p.Where, "key", p.Key, "what", p.What, "next_step", p.Fix)
	}
	response := ReloadResponse{Reloaded: true, Changed: append([]string{}, changed...), NeedsRestart: append([]string{}, needsRestart...),
		Problems: []string{}}
	r.log.Info("configuration reloaded", "changed", response.Changed)
	if len(needsRestart) > 0 {
		r.log.Warn("restart needed", "keys", needsRestart)
	}
	return response
}

// refuse logs each problem with its line. If the reload was not requested and the previous reload
// had the same problems, refuse logs nothing.
func (r *reloader) refuse(requested bool, problems []config.Problem) ReloadResponse {
	lines := failures(problems)
	known := slices.Equal(lines, r.refused)
	r.refused = lines
	r.metrics.Reloaded(false)
	if requested || !known {
		for _, p := range problems {
			if !p.Warning {
				r.log.Error("configuration problem", "where", p.Where, "key", p.Key, "what", p.What, "next_step", p.Fix)
			}
		}
		r.log.Error("reload failed", "problems", len(lines), "in_use", "the previous configuration")
	}
	return ReloadResponse{Changed: []string{}, NeedsRestart: []string{}, Problems: lines}
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
