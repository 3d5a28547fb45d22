package proxy

import (
	"bufio"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// unequal matches the headers whose values may differ between two servers.
var unequal = regexp.MustCompile(`(Date|X-Request-Id): [^\r]*`)

// bothWays sends the same bytes, in two pieces, to a server without the lane and to one with it. It
// returns what the two servers answer, without the values of Date and X-Request-Id. It must run in
// a synctest bubble: if a server waits for more bytes, the connection ends only when a timeout has
// passed, and in a bubble this takes no real time.
func bothWays(t testing.TB, p *Proxy, sent []byte, cut int) (plain, lane string) {
	t.Helper()
	var out [2]string
	var wg sync.WaitGroup // both servers run at the same simulated time, because the answers depend on it
	for i, on := range []bool{false, true} {
		s := newLaneServer(t, p, on)
		c := s.dial(t)
		r := bufio.NewReader(c)
		wg.Go(func() {
			for _, part := range [][]byte{sent[:cut], sent[cut:]} {
				if _, err := c.Write(part); err != nil {
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
		wg.Go(func() {
			got, err := io.ReadAll(r)
			if err != nil {
				t.Error(err)
			}
			out[i] = string(unequal.ReplaceAll(got, []byte("$1")))
		})
	}
	wg.Wait()
	return out[0], out[1]
}

func TestTheLanesAnswersEqualThoseOfNetHTTPByteForByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := laneProxy(t, optionsFor(t, "https://graph.instagram.com", nil))
		for token, want := range map[string]string{warmToken: "IGAA-long", "IGAA-new": "X-App-Usage", "IGAA-cold": "Retry-After", "IGAA-panic": "990026", "IGAA-expired": "190"} {
			plain, lane := bothWays(t, p, []byte(strings.Replace(hitRequest, warmToken, token, 1)), 0)
			if plain != lane || !strings.Contains(lane, want) {
				t.Errorf("%s: net/http:\n%s\nthe lane:\n%s\nwant the same answer, with %q", token, plain, lane, want)
			}
		}
	})
}

// If the Host is one of Meta's names, it selects the service. The lane leaves such requests to
// net/http.
func TestTheLaneTreatsMetasHostNamesAsNetHTTPDoes(t *testing.T) {
	for host, want := range map[string]string{"graph.instagram.com": "IGAA-long", "API.Instagram.com.": "IGAA-long",
		"graph.threads.net": "990004", "graph.facebook.com": "990004", "GRAPH.facebook.com:443": "990004"} {
		synctest.Test(t, func(t *testing.T) {
			o := optionsFor(t, "https://graph.instagram.com", nil)
			o.AnyHost = true
			p := laneProxy(t, o)
			plain, lane := bothWays(t, p, []byte(strings.Replace(hitRequest, "127.0.0.1:8080", host, 1)), 0)
			if plain != lane || !strings.Contains(lane, want) {
				t.Errorf("%s: net/http:\n%s\nthe lane:\n%s\nwant the same answer, with %q", host, plain, lane, want)
			}
		})
	}
}

func TestTheLaneTreatsHalfARequestAsNetHTTPDoes(t *testing.T) {
	for n := range len(hitRequest) {
		for _, sent := range []string{hitRequest[:n], hitRequest + hitRequest[:n], hitRequest + strings.Repeat("0", n%6), hitRequest + "\r\n\r\n\r\n"[:n%7]} {
			synctest.Test(t, func(t *testing.T) {
				p := laneProxy(t, optionsFor(t, "https://graph.instagram.com", nil))
				for _, cut := range []int{max(0, len(sent)-n), len(sent)} {
					if plain, lane := bothWays(t, p, []byte(sent), cut); plain != lane {
						t.Errorf("%q:\nnet/http:\n%s\nthe lane:\n%s\nwant the same answers", sent, plain, lane)
					}
				}
			})
		}
	}
}

// FuzzLane checks that the lane and net/http give the same answers to any bytes, wherever the bytes
// are cut in two.
func FuzzLane(f *testing.F) {
	for _, seed := range laneSeeds {
		f.Add([]byte(seed), uint(0))
		f.Add([]byte(seed), uint(len(seed)/2))
		f.Add([]byte(hitRequest+seed), uint(len(hitRequest)))
		f.Add([]byte(seed+hitRequest), uint(3))
	}
	f.Fuzz(func(t *testing.T, sent []byte, cut uint) {
		if len(sent) > 1<<14 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			p := laneProxy(t, optionsFor(t, "https://graph.instagram.com", nil))
			if plain, lane := bothWays(t, p, sent, int(cut%uint(len(sent)+1))); plain != lane {
				t.Errorf("%q:\nnet/http:\n%s\nthe lane:\n%s\nwant the same answers", sent, plain, lane)
			}
		})
	})
}

var laneSeeds = func() (all []string) {
	all = []string{hitRequest, "GET /access_token?access_token=" + warmToken + "&client_secret=x&grant_type=ig_exchange_token HTTP/1.1\r\n" + laneHost + "\r\n"}
	for _, change := range [][2]string{
		{warmToken, "IGAA-cold"}, {warmToken, "IGAA-new"}, {warmToken, "IGAA-panic"}, {warmToken, "IGAA-expired"}, {warmToken, strings.Repeat("x", 2000)},
		{warmToken, ""}, {warmToken, warmToken + "%2e"}, {warmToken, warmToken + "&access_token=" + warmToken}, {"access_token=I", "access_token&access_token=I"}, {warmToken, warmToken + "&client_secret"}, {"access_token=I", "access_token=%49"},
		{"ig_exchange_token", "ig_exchange_tokens"}, {"ig_exchange_token", "ig_refresh_token"}, {"GET", "HEAD"}, {"GET", "get"}, {"GET", "GET "}, {"/access", "//access"},
		{" HTTP/1.1", " HTTP/1.0"}, {" HTTP/1.1", "  HTTP/1.1"}, {" HTTP/1.1", "#x HTTP/1.1"}, {"\r\n", "\n"}, {"Host", "host"}, {"Host:", "Host :"}, {"Host: ", "Host:"},
		{"127.0.0.1:8080", "evil.example"}, {"127.0.0.1:8080", "localhost"}, {"127.0.0.1:8080", "graph.instagram.com"}, {"127.0.0.1:8080", "graph.facebook.com"}, {"127.0.0.1:8080", "127.0.0.1:99999"}, {"127.0.0.1:8080", "127.0.0.1:"}, {"127.0.0.1:8080", ""},
		{laneHost, laneHost + laneHost}, {laneHost, ""}, {laneHost, laneHost + " folded: yes\r\n"}, {laneHost, laneHost + "Origin: https://evil.example\r\n"},
		{laneHost, laneHost + "Connection: close\r\n"}, {laneHost, laneHost + "Connection: keep-alive\r\n"}, {laneHost, laneHost + "Connection: Upgrade\r\nUpgrade: h2c\r\n"},
		{laneHost, laneHost + "Content-Length: 5\r\n"}, {laneHost, laneHost + "Content-Length: 0\r\n"}, {laneHost, laneHost + "Transfer-Encoding: chunked\r\n"}, {laneHost, laneHost + "Expect: 100-continue\r\n"},
		{laneHost, laneHost + "Content-Type: application/json\r\nTraceparent: 00-1\r\ntracestate: a\r\nX-Request-Id: 1\r\nAccept: */*\r\nUser-Agent: curl/8\r\nAccept-Encoding: gzip\r\nsec-fetch-mode: cors\r\nAccept-Language: *\r\n"},
		{laneHost, laneHost + "Accept: a\x00b\r\n"}, {laneHost, laneHost + "Accept: \xff\r\n"}, {laneHost, laneHost + "X-Long: " + strings.Repeat("x", 5000) + "\r\n"},
		{laneHost, laneHost + "Authorization: Bearer other\r\n"}, {laneHost, laneHost + "Sec-Fetch-Site: cross-site\r\n"},
	} {
		all = append(all, strings.Replace(hitRequest, change[0], change[1], 1))
	}
	return append(all, strings.ReplaceAll(hitRequest, "\r\n", "\n"))
}()
