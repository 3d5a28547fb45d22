package cache

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
)

// recorder is an Observer and a log writer that records all calls.
type recorder struct {
	mu     sync.Mutex // protects the fields below
	counts map[string]int
	states []bool
	log    bytes.Buffer
}

func (r *recorder) Lookup(tier Tier, result string) { r.count("lookup", tier, result) }
func (r *recorder) Claim(o Outcome)                 { r.count("claim", o) }
func (r *recorder) Store(tier Tier, result string)  { r.count("store", tier, result) }
func (r *recorder) RedisError(op, kind string)      { r.count("fault", op, kind) }

func (r *recorder) RedisState(ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.states = append(r.states, ok)
}

func (r *recorder) count(words ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		r.counts = map[string]int{}
	}
	r.counts[strings.TrimSpace(fmt.Sprintln(words...))]++
}

// of returns how often something happened, such as "lookup redis hit".
func (r *recorder) of(what string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[what]
}

func (r *recorder) all() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.counts)
}

func (r *recorder) statesSoFar() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprint(r.states)
}

func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(b)
}

func (r *recorder) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// lines returns the lines of the log.
func (r *recorder) lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.FieldsFunc(r.log.String(), func(c rune) bool { return c == '\n' })
}
