package integration

// With little memory, on a machine or in a container, igproxy survives very many connections and a
// flood of tokens with large answers.

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/igproxy/igproxy/integration/harness"
)

// large sends an answer whose token is derived from the short-lived token, and whose body is nearly
// as large as upstream.max_response_bytes allows.
func large(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"access_token":"%s","token_type":"bearer","expires_in":5183944,"padding":"%s"}`,
		largeToken(r.URL.Query().Get("access_token")), strings.Repeat("x", 60<<10))
}

func largeToken(short string) string { return "IGAA" + strings.Repeat(short, 4) }

// confined is a way to start igproxy with limited memory.
type confined struct {
	before string // a shell command that runs before igproxy starts
	env    string // an environment variable for igproxy, NAME=value
	limit  int    // the value in bytes that Go's memory limit must have
}

func TestAFloodOfLargeAnswersFitsIntoLittleMemory(t *testing.T) {
	t.Parallel()
	path := harness.Plain(t)
	for name, c := range map[string]confined{
		"GOMEMLIMIT": {":", "GOMEMLIMIT=40MiB", 40 << 20},
		// ulimit -d takes KiB. Go reserves nearly half of this limit at the start.
		"RLIMIT_DATA":        {"ulimit -d 262144", "GOMEMLIMIT=40MiB", 40 << 20},
		"a container":        container(t, 64<<20),
		"a larger container": container(t, 128<<20),
	} {
		t.Run(name, func(t *testing.T) {
			ig := newEdge(t, map[string]http.HandlerFunc{"large": large})
			env := append(environ("UPSTREAM_URL="+ig.URL, "LOG_LEVEL=info"), c.env)
			p := startCommand(t, env, exec.Command("sh", "-c", c.before+` && exec "$0" serve`, path))
			p.Listening(t)
			if got := p.metric(t, "go_gc_gomemlimit_bytes"); got != float64(c.limit) {
				t.Errorf("Go's memory limit is %.0f bytes, want %d", got, c.limit)
			}
			flood(t, p)
			most := p.inRAM(t, "VmHWM")
			t.Logf("at most %d MiB in RAM, with a limit of %d MiB for Go", most>>20, c.limit>>20)
			if most > c.limit+40<<20 { // 40 MiB are for the program's code and memory outside of Go's heap
				t.Errorf("igproxy took %d MiB, want at most %d", most>>20, c.limit>>20+40)
			}
			if code := p.Stop(t); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
		})
	}
}

// flood requests new tokens with large answers, about 120 MiB in all, and known tokens in between,
// while other connections are open and idle.
func flood(t *testing.T, p *process) {
	t.Helper()
	const cold, known, callers, silent = 2000, 50, 16, 500
	for range silent {
		p.dialApp(t)
	}
	remembered := map[string]string{}
	for i := range known {
		short := fmt.Sprintf("IGAA-known-%d", i)
		remembered[short] = p.ask(t, short).token()
	}
	var right, hits atomic.Int64
	crowd(callers, func(n int) {
		for i := n; i < cold; i += callers {
			short := fmt.Sprintf("large-%d", i)
			if r, err := p.try(t.Context(), short); err == nil && r.status == 200 && r.token() == largeToken(short) && len(r.body) > 60<<10 {
				right.Add(1)
			}
			short = fmt.Sprintf("IGAA-known-%d", i%known)
			if r, err := p.try(t.Context(), short); err == nil && r.status == 200 && r.token() == remembered[short] {
				hits.Add(1)
			}
		}
	})
	if right.Load() != cold || hits.Load() != cold {
		t.Errorf("%d of %d requests for new tokens, and %d of %d requests for known tokens, were answered correctly; want all", right.Load(), cold, hits.Load(), cold)
	}
}

// container returns a way to start igproxy in a memory cgroup with a limit in bytes, which igproxy
// must detect. If the machine allows no cgroup, igproxy starts with the GOMEMLIMIT that it would
// set in the cgroup, and with a limit of 256 MiB for data (RLIMIT_DATA). Go reserves nearly half of
// the 256 MiB at the start.
func container(t *testing.T, limit int) confined {
	t.Helper()
	tenths := int(float64(limit) * 0.9)
	groups, _ := os.ReadFile("/proc/self/cgroup")
	for _, c := range []struct{ line, mount, file string }{
		{`(?m)^\d+:memory:(.*)$`, "/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
		{`(?m)^0::(.*)$`, "/sys/fs/cgroup", "memory.max"},
	} {
		own := regexp.MustCompile(c.line).FindSubmatch(groups)
		if own == nil {
			continue
		}
		for _, parent := range []string{string(own[1]), "/"} {
			group, err := os.MkdirTemp(filepath.Join(c.mount, parent), "igproxy-test-")
			if err != nil {
				continue
			}
			t.Cleanup(func() { _ = os.Remove(group) })
			limited := os.WriteFile(filepath.Join(group, c.file), fmt.Append(nil, limit), 0)
			if joined := exec.Command("sh", "-c", "echo $$ > "+group+"/cgroup.procs").Run(); limited == nil && joined == nil {
				return confined{"echo $$ > " + group + "/cgroup.procs", "GOMEMLIMIT=", tenths}
			}
		}
	}
	t.Log("this machine allows no memory cgroup: using RLIMIT_DATA and GOMEMLIMIT instead")
	return confined{"ulimit -d 262144", fmt.Sprintf("GOMEMLIMIT=%d", tenths), tenths}
}

// The entries in memory take at most an eighth of Go's memory limit, even if all answers have
// nearly the maximum size that is kept in memory.
func TestEntriesInMemoryTakeAtMostAnEighthOfTheMemoryLimit(t *testing.T) {
	t.Parallel()
	const limit, tokens, callers = 128 << 20, 8000, 8
	ig := newEdge(t, map[string]http.HandlerFunc{"large": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":"%s","token_type":"bearer","expires_in":5183944,"padding":"%s"}`,
			largeToken(r.URL.Query().Get("access_token")), strings.Repeat("x", 7<<10))
	}})
	p := confine(t, container(t, limit), "UPSTREAM_URL="+ig.URL, "LOG_LEVEL=info")
	var right atomic.Int64
	crowd(callers, func(n int) {
		for i := n; i < tokens; i += callers {
			short := fmt.Sprintf("large-%d", i)
			if r, err := p.try(t.Context(), short); err == nil && r.status == 200 && r.token() == largeToken(short) {
				right.Add(1)
			}
		}
	})
	if right.Load() != tokens {
		t.Errorf("%[2]d of %[1]d tokens were answered correctly, want all", tokens, right.Load())
	}
	if got, most := p.metric(t, "igproxy_cache_bytes"), float64(limit)*0.9/8; got < most/2 || got > 1.05*most {
		t.Errorf("entries take %.0f bytes, want from %.0f to %.0f", got, most/2, 1.05*most)
	}
	wantSmall(t, p, limit)
}
