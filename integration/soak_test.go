package integration

// A soak runs all faults in random order, under load and with several sidecars. No caller gets
// another caller's token, apps understand every response, and logs, metrics and Redis contain no
// secrets. Afterwards, the sidecars use about as many connections and goroutines and as much memory
// as at the start, apart from what idle connections need.
//
// The faults last for 12 seconds, or as long as IGPROXY_SOAK says (make soak SOAK=10m).
// IGPROXY_SOAK_SEED repeats the random choices of an earlier run.

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/mock"
)

// soak has the sidecars, the servers that they use, and counts of what happened.
type soak struct {
	t        *testing.T
	rng      *rand.Rand // chooses the faults
	settings []string
	ig       *mock.Instagram
	redis    *redistest.Server
	liar     *redistest.Liar
	sidecars []*seat
	strays   []net.Conn // the connections of clients that hang
	client   *http.Client

	needles map[string]string // texts that must not appear anywhere, by name
	long    *regexp.Regexp    // matches a long-lived token

	got        tally          // responses with status 200
	errors     atomic.Int64   // responses that apps understand as an error
	left       atomic.Int64   // requests whose caller disconnected
	excused    atomic.Int64   // requests that a restart interrupted
	unexpected sync.Map       // the texts of other responses, and of failures to get a response
	happened   map[string]int // how often each fault happened, by its name
}

// seat holds one sidecar at a time. A restart replaces the sidecar.
type seat struct {
	process atomic.Pointer[process]
	epoch   atomic.Int64 // odd while the sidecar is being replaced
}

const (
	soakCallers  = 24
	soakTokens   = 300
	soakPool     = 12           // redis.pool_size
	soakInFlight = 32           // upstream.max_in_flight
	soakCanary   = "s0akc4nary" // a part of every short-lived token
)

func TestSoakWithAllFaults(t *testing.T) {
	length, seed := 12*time.Second, rand.Uint64()
	var err error
	if v := os.Getenv("IGPROXY_SOAK"); v != "" {
		if length, err = time.ParseDuration(v); err != nil {
			t.Fatalf("IGPROXY_SOAK: %v", err)
		}
	}
	if v := os.Getenv("IGPROXY_SOAK_SEED"); v != "" {
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatalf("IGPROXY_SOAK_SEED: %v", err)
		}
	}
	t.Logf("for %s, IGPROXY_SOAK_SEED=%d", length, seed)
	s := newSoak(t, seed, 3)
	s.burst("warm") // fills every pool
	before := s.measure(s.sidecars[0].process.Load(), true)

	issued := s.ig.Issued("IGAA-" + soakCanary + "-warm-0")
	if len(issued) == 0 {
		t.Error("got no long-lived token for the first short-lived token, want one")
	}
	// The search must find these texts, or it proves nothing.
	for _, text := range append(issued, appSecret, s.token(7), forms(s.token(50))["hex"], "WARNING: DATA RACE") {
		if len(s.found("x"+text+"x")) == 0 {
			t.Errorf("the search does not find %.20s...", text)
		}
	}

	stop := make(chan struct{})
	var callers sync.WaitGroup
	for i := range soakCallers {
		callers.Go(func() { s.call(rand.New(rand.NewPCG(seed, uint64(i))), stop) })
	}
	for end := time.Now().Add(length); time.Now().Before(end); {
		s.disturb()
		s.search()
	}
	close(stop)
	callers.Wait()
	s.calm()
	s.afterwards(before)
	t.Logf("tokens: %s; %d errors, %d requests whose caller left, %d interrupted by a restart; faults: %v", &s.got, s.errors.Load(), s.left.Load(), s.excused.Load(), s.happened)
	if s.got.wrong.Load() > 0 || s.got.failed.Load() > 0 || s.got.right.Load() < 1000 || s.errors.Load() == 0 {
		t.Errorf("got %s; want at least 1000 right, 0 wrong, 0 failed; got %d errors, want at least 1", &s.got, s.errors.Load())
	}
	s.unexpected.Range(func(what, _ any) bool { t.Errorf("an app got %v", what); return true })
	if strange := s.ig.Strange(); len(strange) > 0 {
		t.Errorf("Instagram received a request that igproxy must not send: %v", strange[0])
	}
}

func newSoak(t *testing.T, seed uint64, n int) *soak {
	t.Helper()
	s := &soak{t: t, rng: rand.New(rand.NewPCG(seed, seed)), happened: map[string]int{}, needles: map[string]string{}}
	var upstream *mock.Server
	s.ig, upstream = instagram(t, mock.ServerOptions{})
	s.redis = redistest.Start(t)
	s.liar = redistest.StartLiar(t, s.redis)
	s.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: soakCallers}, Timeout: patience}
	t.Cleanup(s.client.CloseIdleConnections)
	s.settings = []string{"UPSTREAM_URL=" + upstream.URL, "REDIS_MODE=single", "REDIS_URL=" + s.liar.URL(), "UPSTREAM_TIMEOUT=800ms", "COALESCE_WAIT=1s",
		"BREAKER_OPEN=200ms", "BREAKER_INTERVAL=3s", "CACHE_TTL=2s", "CACHE_NEGATIVE_TTL=1s", "CACHE_MAX_BYTES=128KiB", fmt.Sprintf("UPSTREAM_MAX_IN_FLIGHT=%d", soakInFlight), fmt.Sprintf("REDIS_POOL_SIZE=%d", soakPool),
		"SERVER_READ_HEADER_TIMEOUT=1s", "SERVER_WRITE_TIMEOUT=4s", "SERVER_MAX_CONNECTIONS=100"}
	for range n {
		seat := &seat{}
		seat.process.Store(s.start())
		s.sidecars = append(s.sidecars, seat)
	}
	// The test searches for four tokens in every form. It finds the others only by soakCanary,
	// which they contain.
	for i := range 4 {
		for form, needle := range forms(s.token(i * 50)) {
			s.needles[fmt.Sprintf("token %d as %s", i*50, form)] = needle
		}
	}
	for form, needle := range forms(appSecret) {
		s.needles["the client secret as "+form] = needle
	}
	s.needles["a short-lived token"] = soakCanary
	s.needles["a race"] = "DATA RACE"
	s.needles["a panic"] = `"msg":"panic`
	s.long = regexp.MustCompile(`IGAA[0-9A-Za-z]{30}`)
	return s
}

// start starts a sidecar whose race detector does not sleep for a second at exit.
func (s *soak) start() *process {
	s.t.Helper()
	p := start(s.t, append(environ(s.settings...), "GORACE=atexit_sleep_ms=0"), "serve")
	p.Listening(s.t)
	return p
}

// token returns the ith token. Every fourth token triggers a fault of Instagram, but never a fault
// that pauses the whole app or that sends a very large response.
func (s *soak) token(i int) string {
	faults := slices.DeleteFunc(mock.Faults(), func(f mock.Fault) bool {
		return f.Name == "wrongsecret" || f.Name == "limit4" || f.Name == "limit613" || f.Name == "limit429" || f.Name == "endless" || f.Name == "gzipbomb"
	})
	if i%4 == 3 {
		return fmt.Sprintf("%s-%s-%d", faults[i/4%len(faults)].Name, soakCanary, i)
	}
	return fmt.Sprintf("IGAA-%s-%d", soakCanary, i)
}

// call acts as one app that keeps sending requests.
func (s *soak) call(rng *rand.Rand, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rng.IntN(10)) * time.Millisecond):
		}
		seat := s.sidecars[rng.IntN(len(s.sidecars))]
		epoch := seat.epoch.Load()
		if epoch%2 == 1 {
			continue
		}
		ctx, cancel := context.WithCancel(s.t.Context())
		leaves := rng.IntN(10) == 0
		if leaves {
			time.AfterFunc(time.Duration(rng.IntN(30))*time.Millisecond, cancel)
		}
		short := s.token(rng.IntN(soakTokens))
		r, err := fetch(ctx, s.client, seat.process.Load().URL+exchangePath(short))
		s.judge(short, r, err, leaves, seat.epoch.Load() != epoch)
		cancel()
	}
}

func (s *soak) judge(short string, r response, err error, left, restarted bool) {
	switch {
	case err != nil && left:
		s.left.Add(1)
	case err != nil && restarted:
		s.excused.Add(1)
	case err != nil:
		s.unexpected.Store(strings.ReplaceAll(err.Error(), short, "TOKEN"), true)
	case r.status == 200:
		s.got.count(s.ig, short, r, nil)
	case slices.Contains([]int{400, 403, 429, 502, 503, 504}, r.status) && strings.HasPrefix(r.body, `{"error":{"message":`):
		s.errors.Add(1)
	default:
		s.unexpected.Store(fmt.Sprintf("%d %.80s", r.status, r.body), true)
	}
}

// burst requests many new tokens at once from all sidecars.
func (s *soak) burst(name string) {
	crowd(64*len(s.sidecars), func(i int) { s.ask(i%len(s.sidecars), name, i) })
}

// ask requests a new token from a sidecar. It judges the response.
func (s *soak) ask(sidecar int, name string, i int) {
	short := fmt.Sprintf("IGAA-%s-%s-%d", soakCanary, name, i)
	r, err := fetch(s.t.Context(), s.client, s.sidecars[sidecar].process.Load().URL+exchangePath(short))
	s.judge(short, r, err, false, false)
}
