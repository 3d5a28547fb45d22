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

// Scripts for wrk. doneLua prints the results as JSON. walkLua cycles through the tokens with a
// stride that is coprime to their number, so that even a short round uses tokens from all parts of
// the range. For a single token, wrk repeats the same bytes without calling Lua.
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

// round is the result of one round of load.
type round struct {
	cpu      float64 // of the server, in seconds per million requests
	rps      float64
	p50, p99 float64 // in milliseconds
	requests float64
}

// load runs wrk against s with one thread. Call warm first, so that the requests are hits.
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
	var result struct{ Requests, US, P50, P99, Errors float64 }
	if err := json.Unmarshal(out[strings.LastIndex(string(out), "\n{")+1:], &result); err != nil {
		return r, fmt.Errorf("unexpected output of wrk: %s", out)
	}
	if result.Requests == 0 || result.Errors > 0 {
		return r, fmt.Errorf("%s: wrk made %.0f requests with %.0f errors, want at least 1 request and no errors", s.name, result.Requests, result.Errors)
	}
	b.calm(s)
	b.loader(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime(), result.US)
	r = round{cpu: spent / result.Requests * 1e6, rps: result.Requests / result.US * 1e6, p50: result.P50 / 1000, p99: result.P99 / 1000, requests: result.Requests}
	b.say("%-8s %7d tokens %5d connections: %6.2f s/million, %7.0f/s, p99 %.2f ms", s.name, tokens, connections, r.cpu, r.rps, r.p99)
	return r, nil
}

// calm waits until the server uses hardly any CPU. By then, the server has finished the requests
// that wrk abandoned, so their CPU does not count in the next round.
func (b *bench) calm(s *server) {
	for end, spent := time.Now().Add(patience), -1.0; time.Now().Before(end); b.pause(100 * time.Millisecond) {
		now := s.cpu()
		if now-spent < 2.0/ticks || b.ctx.Err() != nil {
			return
		}
		spent = now
	}
}

// loader updates the largest share of the load core that wrk used in a round. If the share is close
// to 1, wrk and not the server was the bottleneck. cpu is wrk's CPU time, and us is the duration of
// the round in microseconds.
func (b *bench) loader(cpu time.Duration, us float64) {
	b.report.Loader = max(b.report.Loader, cpu.Seconds()/us*1e6)
}

// truncateLogs empties the logs, so that the logs of many rounds do not fill the disk.
func (b *bench) truncateLogs() (err error) {
	for _, s := range b.running {
		err = errors.Join(err, os.Truncate(s.log, 0))
	}
	return err
}

// until waits for condition to become true, but not longer than patience. The error is "timed out
// waiting until " + what.
func (b *bench) until(what string, condition func() bool) error {
	for end := time.Now().Add(patience); time.Now().Before(end) && b.ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		if condition() {
			return nil
		}
	}
	return errors.New("timed out waiting until " + what)
}
