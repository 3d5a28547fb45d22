package proxy

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/lane"
)

// socketServer serves a proxy on a real socket, with or without the lane.
func socketServer(t *testing.T, p *Proxy, network string, on bool) net.Addr {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = t.TempDir() + "/s"
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute, DisableGeneralOptionsHandler: true,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	served := l
	var done sync.WaitGroup
	if on {
		front := p.NewLane(lane.Options{HeaderTimeout: time.Minute, Logger: slog.New(slog.DiscardHandler)})
		served = front.Fallback()
		done.Go(func() { _ = front.Serve(l); _ = front.Shutdown(context.Background()) })
	}
	done.Go(func() { _ = s.Serve(served) })
	t.Cleanup(func() {
		_ = l.Close()
		_ = s.Close()
		done.Wait()
	})
	return l.Addr()
}

// answersTo sends a stream in pieces, closes the sending half, and returns everything that arrives,
// without the values that differ each time, such as Date.
func answersTo(t *testing.T, to net.Addr, pieces []string) string {
	t.Helper()
	c, err := net.Dial(to.Network(), to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	go func() { // ends with the connection
		for _, piece := range pieces {
			if _, err := io.WriteString(c, piece); err != nil {
				return
			}
		}
		_ = c.(interface{ CloseWrite() error }).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil && !strings.Contains(err.Error(), "reset") { // after an error, net/http may reset the connection
		t.Error(err)
	}
	return changing.ReplaceAllString(string(got), "$1")
}

// changing matches the values that differ between two answers to the same request.
var changing = regexp.MustCompile(`(Date: |X-Request-Id: |ttl=|"expires_in":)[^\r}]*`)

// Each stream consists of hits, misses and other requests, and is sent in pieces of random lengths.
func TestStreamsAreAnsweredTheSameWithAndWithoutTheLane(t *testing.T) {
	p := laneProxy(t, optionsFor(t, "https://graph.instagram.com", nil))
	plain := []string{hitRequest, coldRequest, strings.Replace(hitRequest, warmToken, "IGAA-new", 1)}
	for _, network := range []string{"tcp", "unix"} {
		with, without := socketServer(t, p, network, true), socketServer(t, p, network, false)
		for seed := range uint64(150) {
			r := rand.New(rand.NewPCG(seed, 1))
			var stream strings.Builder
			for range 1 + r.IntN(6) {
				if r.IntN(4) > 0 {
					stream.WriteString(plain[r.IntN(len(plain))])
				} else {
					stream.WriteString(laneSeeds[r.IntN(len(laneSeeds))])
				}
			}
			pieces := cutUp(r, stream.String())
			if got, want := answersTo(t, with, pieces), answersTo(t, without, pieces); got != want {
				t.Errorf("%s, seed %d, %q:\nthe lane:\n%s\nnet/http:\n%s\nwant the same answers", network, seed, stream.String(), got, want)
			}
		}
		for i := range hitRequest { // split at every byte
			pieces := []string{hitRequest[:i], hitRequest[i:] + coldRequest[:i], coldRequest[i:]}
			if got, want := answersTo(t, with, pieces), answersTo(t, without, pieces); got != want || strings.Count(got, "HTTP/1.1 ") != 2 {
				t.Errorf("%s, cut at %d: the lane:\n%s\nnet/http:\n%s\nwant the same two answers", network, i, got, want)
			}
		}
	}
}

// cutUp cuts a text into pieces of random lengths. The maximum length is also chosen at random: 1,
// 40 or 400 bytes, or the whole text.
func cutUp(r *rand.Rand, text string) (pieces []string) {
	longest := []int{1, 40, 400, len(text)}[r.IntN(4)]
	for text != "" {
		n := min(1+r.IntN(longest), len(text))
		pieces, text = append(pieces, text[:n]), text[n:]
	}
	return pieces
}
