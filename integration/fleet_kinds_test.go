package integration

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/mock"
)

// Apps get no error, whatever Redis does. igproxy_redis_errors_total has a separate kind for each
// way in which Redis fails in production. The log has at most one line "redis degraded", not one
// for each request.
func TestRequestsSucceedDuringEveryRedisFaultAndFaultsAreCounted(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	for name, c := range map[string]struct {
		options redistest.Options
		url     func(*redistest.Server) string // nil means the server's own URL
		breaks  func(*redistest.Server)
		opens   bool // the fault opens the breaker for Redis; if false, igproxy continues to use Redis
	}{
		"refused":    {breaks: (*redistest.Server).Kill, opens: true},
		"timeout":    {breaks: (*redistest.Server).Pause, opens: true},
		"readonly":   {breaks: func(s *redistest.Server) { s.Do("REPLICAOF", "127.0.0.1", "1") }},
		"oom":        {breaks: func(s *redistest.Server) { s.Do("CONFIG", "SET", "maxmemory", "1") }},
		"noreplicas": {breaks: func(s *redistest.Server) { s.Do("CONFIG", "SET", "min-replicas-to-write", "1") }},
		"auth":       {options: redistest.Options{Password: "right"}, url: func(s *redistest.Server) string { return "redis://:" + redisPassword + "@" + s.Addr() }, opens: true},
		"permission": {url: func(s *redistest.Server) string {
			s.Do("ACL", "SETUSER", "other", "on", ">"+redisPassword, "~other:*", "+@all")
			return "redis://other:" + redisPassword + "@" + s.Addr()
		}},
		"maxclients": {url: func(*redistest.Server) string { return scripted(t, "-ERR max number of clients reached") }, opens: true},
		// A real Redis sends the error of "maxclients" and closes the connection at once. igproxy
		// does not always receive the error.
		"broken, because Redis has too many clients": {url: func(s *redistest.Server) string {
			s.Do("CONFIG", "SET", "maxclients", "1")
			s.Hold(t)
			return s.URL()
		}, opens: true},
		"loading":     {url: func(*redistest.Server) string { return scripted(t, "-LOADING Redis is loading the dataset in memory") }, opens: true},
		"busy":        {url: func(*redistest.Server) string { return scripted(t, "-BUSY Redis is busy running a script") }, opens: true},
		"clusterdown": {url: func(*redistest.Server) string { return scripted(t, "-CLUSTERDOWN Hash slot not served") }, opens: true},
		"tryagain": {url: func(*redistest.Server) string {
			return scripted(t, "-TRYAGAIN Multiple keys request during rehashing of slot")
		}},
		"moved":   {url: func(*redistest.Server) string { return scripted(t, "-MOVED 1 127.0.0.1:1") }},
		"broken":  {url: func(*redistest.Server) string { return scripted(t, "") }, opens: true},
		"desync":  {url: func(*redistest.Server) string { return scripted(t, "+the reply to another command") }, opens: true},
		"tls":     {url: func(s *redistest.Server) string { return "rediss://" + s.Addr() }, options: redistest.Options{TLS: true}, opens: true},
		"resolve": {url: func(*redistest.Server) string { return "redis://no-such-host.invalid:6379" }, opens: true},
		"other":   {url: func(*redistest.Server) string { return scripted(t, "-ERR "+redisPassword) }, opens: true},
	} {
		t.Run(name, func(t *testing.T) {
			kind, _, _ := strings.Cut(name, ",")
			redis := redistest.Start(t, c.options)
			target := redis.URL()
			if c.url != nil {
				target = c.url(redis)
			}
			p := serve(t, "UPSTREAM_URL="+upstream.URL, "REDIS_MODE=single", "REDIS_URL="+target)
			if c.breaks != nil {
				answers(t, p, kind+"-before", 2)
				c.breaks(redis)
			}
			answers(t, p, kind, 20)
			eventually(t, "the fault is counted as "+kind, func() bool {
				return strings.Contains(p.page(t, "/metrics").body, fmt.Sprintf(`igproxy_redis_errors_total{kind="%s",operation="`, kind))
			})
			if c.opens {
				redisState(t, p, "degraded")
			}
			if lines := p.Log.Lines("redis degraded"); len(lines) > 1 || !c.opens && len(lines) > 0 {
				t.Errorf("logged \"redis degraded\" %d times, want at most once, and never if the breaker stays closed", len(lines))
			}
			if strings.Contains(p.Log.String(), redisPassword) {
				t.Error("the log contains Redis's password, perhaps as a part of a reply from Redis")
			}
		})
	}
}

// scripted starts a fake Redis and returns its URL. Clients can connect: the fake answers HELLO,
// SELECT and CLIENT. To every other command, it sends the text in the parameter reply, or closes
// the connection if this text is empty.
func scripted(t *testing.T, reply string) string {
	t.Helper()
	return "redis://" + fakeRedis(t, func(c net.Conn) { redistest.Answer(c, reply) })
}

// fakeRedis listens on loopback, calls serve for each connection, and returns the address.
func fakeRedis(t *testing.T, serve func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() { // ends when the listener is closed
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().String()
}

// All requests are answered while Redis blocks in a command, and when Redis closes a connection in
// the middle of a reply.
func TestRequestsSucceedWhileRedisBlocksOrIsCutOff(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	redis := redistest.Start(t, redistest.Options{Args: []string{"--enable-debug-command", "yes"}})
	liar := redistest.StartLiar(t, redis)
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "REDIS_MODE=single", "REDIS_URL="+liar.URL())
	answers(t, p, "before", 5)
	redis.Do("CLIENT", "PAUSE", "1000", "ALL")
	answers(t, p, "paused", 20)
	wantRecovered(t, p, redis)
	var asleep sync.WaitGroup
	asleep.Go(func() { redis.Do("DEBUG", "SLEEP", "1") })
	answers(t, p, "asleep", 20)
	asleep.Wait()
	liar.SetLie(redistest.Truncate, 1)
	answers(t, p, "cut", 20)
	liar.SetLie(redistest.Truth, 1)
	if ig.Calls() < 65 {
		t.Errorf("%d calls for 65 cold tokens, want at least 65", ig.Calls())
	}
}
