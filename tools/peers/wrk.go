package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// The scripts of wrk's. doneLua tells the figures as JSON; walkLua also walks a list of tokens with a stride that has no factor in common
// with their number, so that also a short round asks all over it. For one token wrk sends the same bytes again and again, without Lua.
const (
	doneLua = `
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('\n{"requests":%d,"us":%d,"p50":%f,"p99":%f,"errors":%d}\n', summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
`
	walkLua = `
function init(args)
  tokens, head, at = tonumber(args[1]), args[2], 0
  tail = " HTTP/1.1\r\nHost: " .. wrk.headers["Host"] .. "\r\n\r\n"
end
function request()
  at = (at + 617) % tokens
  return "GET " .. head .. string.format("%07d", at) .. tail
end
`
)

// round is what one round of load told.
type round struct {
	cpu      float64 // of the server, in seconds for a million requests
	rps      float64
	p50, p99 float64 // in milliseconds
	requests float64
}

// load lets wrk at a server: one thread, so many connections, walking so many tokens, all known to it.
func (b *bench) load(s *server, tokens, connections, seconds int) (r round, err error) {
	if err := b.truncateLogs(); err != nil {
		return r, err
	}
	program, err := find("wrk")
	if err != nil {
		return r, err
	}
	script, url, args := doneLua, s.url+target(0), []string(nil)
	if tokens > 1 {
		script, url, args = doneLua+walkLua, s.url, []string{"--", strconv.Itoa(tokens), targetHead}
	}
	lua := b.path("wrk.lua")
	if err := os.WriteFile(lua, []byte(script), 0o644); err != nil {
		return r, err
	}
	cmd := exec.CommandContext(b.ctx, program, append([]string{"-t1", "-c" + strconv.Itoa(connections), "-d" + strconv.Itoa(seconds) + "s",
		"--timeout", "10s", "--latency", "-s", lua, url}, args...)...)
	before := s.cpu()
	out, err := cmd.CombinedOutput()
	spent := s.cpu() - before
	if err != nil {
		return r, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	var told struct{ Requests, US, P50, P99, Errors float64 }
	if err := json.Unmarshal(out[strings.LastIndex(string(out), "\n{")+1:], &told); err != nil {
		return r, fmt.Errorf("wrk said %s", out)
	}
	if told.Requests == 0 || told.Errors > 0 {
		return r, fmt.Errorf("%s: %.0f requests, %.0f errors", s.name, told.Requests, told.Errors)
	}
	b.calm(s)
	b.loader(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime(), told.US)
	r = round{cpu: spent / told.Requests * 1e6, rps: told.Requests / told.US * 1e6, p50: told.P50 / 1000, p99: told.P99 / 1000, requests: told.Requests}
	b.say("%-8s %7d tokens %5d connections: %6.2f s/million, %7.0f/s, p99 %.2f ms", s.name, tokens, connections, r.cpu, r.rps, r.p99)
	return r, nil
}

// calm waits until the server has done with what wrk left under way when it ended, which is not the next round's.
func (b *bench) calm(s *server) {
	for end, spent := time.Now().Add(patience), -1.0; time.Now().Before(end); b.pause(100 * time.Millisecond) {
		now := s.cpu()
		if now-spent < 2.0/ticks || b.ctx.Err() != nil {
			return
		}
		spent = now
	}
}

// loader notes when it was wrk that could not do more, for then a server's requests a second are wrk's.
func (b *bench) loader(cpu time.Duration, us float64) {
	b.report.Loader = max(b.report.Loader, cpu.Seconds()/us*1e6)
}

// truncateLogs empties the logs, which nobody reads: a round writes some hundred megabytes.
func (b *bench) truncateLogs() (err error) {
	for _, s := range b.running {
		err = errors.Join(err, os.Truncate(s.log, 0))
	}
	if e := os.Truncate(b.path("nginx-access.log"), 0); !errors.Is(e, os.ErrNotExist) {
		err = errors.Join(err, e)
	}
	return err
}

// until waits for something that must become true.
func (b *bench) until(what string, is func() bool) error {
	for end := time.Now().Add(patience); time.Now().Before(end) && b.ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		if is() {
			return nil
		}
	}
	return errors.New("waited in vain: " + what)
}
