package redistest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// MasterName is the name of the master in the sentinels' configuration.
const MasterName = "mymaster"

// Sentinels is a running Redis master, two replicas of it, and three sentinels that monitor it.
type Sentinels struct {
	t       testing.TB
	servers []*Server // the master at the start, then its replicas
	ports   []int     // the sentinels' ports
}

// StartSentinels starts the master, the replicas and the sentinels. It stops them at the end of the
// test.
func StartSentinels(t testing.TB) *Sentinels {
	t.Helper()
	s := &Sentinels{t: t}
	master := Start(t)
	s.servers = append(s.servers, master)
	for range 2 {
		s.servers = append(s.servers, Start(t, Options{Args: []string{"--replicaof", "127.0.0.1 " + strconv.Itoa(master.port), "--repl-diskless-sync-delay", "0"}}))
	}
	for range 3 {
		s.ports = append(s.ports, startSentinel(t, master.port, 2, 500*time.Millisecond))
	}
	eventually(t, "the sentinels know two replicas and each other", func() bool {
		for _, port := range s.ports {
			m := masterOf(t, port)
			if m["num-slaves"] != "2" || m["num-other-sentinels"] != "2" || m["flags"] != "master" {
				return false
			}
		}
		return true
	})
	return s
}

// StartSentinel starts one sentinel for a master without replicas, and returns the sentinel's
// address. The parameter master is the master's port on loopback.
func StartSentinel(t testing.TB, master int) string {
	t.Helper()
	port := startSentinel(t, master, 1, time.Minute)
	eventually(t, "the sentinel knows the master", func() bool { return masterOf(t, port)["flags"] == "master" })
	return addrs([]int{port})
}

// startSentinel starts a sentinel for the master on this port, and returns the sentinel's port. The
// parameter quorum is how many sentinels must have had no reply from the master for the time
// downAfter before a failover can begin.
func startSentinel(t testing.TB, master, quorum int, downAfter time.Duration) int {
	t.Helper()
	binary, err := exec.LookPath("redis-sentinel")
	if err != nil {
		t.Fatal("redis-sentinel not found: run `make test`, which installs it")
	}
	dir, port := t.TempDir(), FreePort(t)
	config := filepath.Join(dir, "sentinel.conf")
	text := fmt.Sprintf("bind 127.0.0.1\nport %d\ndir %s\nsentinel monitor %s 127.0.0.1 %d %d\nsentinel down-after-milliseconds %s %d\n"+
		"sentinel failover-timeout %s 3000\nloglevel warning\nlogfile %s\n", port, dir, MasterName, master, quorum, MasterName, downAfter.Milliseconds(),
		MasterName, filepath.Join(dir, "log"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, exec.Command(binary, config))
	return port
}

// run starts a process and kills it at the end of the test.
func run(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

// Addrs returns the addresses of the sentinels, separated by commas.
func (s *Sentinels) Addrs() string { return addrs(s.ports) }

func addrs(ports []int) (list string) {
	for i, port := range ports {
		if i > 0 {
			list += ","
		}
		list += "127.0.0.1:" + strconv.Itoa(port)
	}
	return list
}

// Master returns the server that the first sentinel reports as the master.
func (s *Sentinels) Master() *Server {
	s.t.Helper()
	port := masterOf(s.t, s.ports[0])["port"]
	for _, server := range s.servers {
		if strconv.Itoa(server.port) == port {
			return server
		}
	}
	s.t.Fatalf("the first sentinel reports a master on port %q, want the port of a started server", port)
	return nil
}

// FailOver kills the master and waits until the first sentinel reports another master.
func (s *Sentinels) FailOver() {
	s.t.Helper()
	old := s.Master()
	old.Kill()
	eventually(s.t, "another master is chosen", func() bool {
		m := masterOf(s.t, s.ports[0])
		return m["port"] != strconv.Itoa(old.port) && m["flags"] == "master"
	})
}

// masterOf returns what a sentinel reports about the master. The map is empty if the sentinel does
// not answer.
func masterOf(t testing.TB, port int) map[string]string {
	known := map[string]string{}
	c, err := (&Server{t: t, port: port}).dial()
	if err != nil {
		return known
	}
	defer c.close()
	reply, err := c.do("SENTINEL", "MASTER", MasterName)
	if list, ok := reply.([]any); ok && err == nil {
		for i := 0; i+1 < len(list); i += 2 {
			known[fmt.Sprint(list[i])] = fmt.Sprint(list[i+1])
		}
	}
	return known
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", 2*patience, what)
		}
	}
}
