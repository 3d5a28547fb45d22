package passthrough_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/passthrough"
)

func zipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, text)
	_ = z.Close()
	return b.String()
}

// The app gets every response unchanged. OnRefused gets only complete refusals of at most 64 KiB.
func TestRefusalsAreReadAndPassedOnUnchanged(t *testing.T) {
	const refusal, most = `{"error":{"code":190}}`, 64 << 10
	long := strings.Repeat("x", most)
	for name, c := range map[string]struct {
		status                 int
		method, encoding, body string
		read                   string // what OnRefused gets; empty: it is not called
	}{
		"400":                 {400, "GET", "", refusal, refusal},
		"401":                 {401, "POST", "", refusal, refusal},
		"identity":            {400, "GET", "identity", refusal, refusal},
		"gzip":                {400, "GET", "gzip", zipped(refusal), refusal},
		"x-gzip":              {400, "GET", "x-gzip", zipped(refusal), refusal},
		"as long as possible": {400, "GET", "", long, long},
		"too long":            {400, "GET", "", long + "x", ""},
		"gzip of a long body": {400, "GET", "gzip", zipped(long + "x"), ""},
		"gzip, cut":           {400, "GET", "gzip", zipped(refusal)[:20], ""},
		"another encoding":    {400, "GET", "br", refusal, ""},
		"two encodings":       {400, "GET", "gzip, gzip", zipped(zipped(refusal)), ""},
		"200":                 {200, "GET", "", refusal, ""},
		"403":                 {403, "GET", "", refusal, ""},
		"500":                 {500, "GET", "", refusal, ""},
		"HEAD":                {400, "HEAD", "", "", ""},
	} {
		for _, chunked := range []bool{false, true} {
			for _, rewriting := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, chunked %v, rewriting %v", name, chunked, rewriting), func(t *testing.T) {
					o := passthrough.Options{RewritePaging: rewriting, MaxJSONBytes: 1 << 20}
					s := newSidecar(t, o, func(w http.ResponseWriter, _ *http.Request) {
						w.Header().Set("Content-Type", "application/json")
						if c.encoding != "" {
							w.Header().Set("Content-Encoding", c.encoding)
						}
						if !chunked {
							w.Header().Set("Content-Length", fmt.Sprint(len(c.body)))
						}
						w.WriteHeader(c.status)
						for text := c.body; text != "" && c.method != "HEAD"; text = text[min(len(text), 5000):] {
							_, _ = io.WriteString(w, text[:min(len(text), 5000)])
							_ = http.NewResponseController(w).Flush()
						}
					})
					var read []string
					s.refused = func(_ string, status int, body []byte) { read = append(read, fmt.Sprint(status, " ", string(body))) }
					r := s.request(t, c.method, "/me", "")
					r.Header.Set("Accept-Encoding", "gzip") // so that the client does not decompress
					status, body, got, err := s.call(t, r)
					if err != nil || got.Err != nil || got.Cut || status != c.status || body != c.body {
						t.Errorf("the app got status %d, want %d; the app got %d bytes, want the %d bytes that Meta sent; error: got %v, want nil; result: got %+v, want no Err and no Cut", status, c.status, len(body), len(c.body), err, got)
					}
					want := []string{}
					if c.read != "" {
						want = append(want, fmt.Sprint(c.status, " ", c.read))
					}
					if fmt.Sprint(read) != fmt.Sprint(want) {
						t.Errorf("OnRefused got %.100q, want %.100q", read, want)
					}
				})
			}
		}
	}
}

// A slow refusal reaches the app piece by piece. OnRefused does not get a refusal that breaks off.
func TestRefusalsAreStreamed(t *testing.T) {
	first := make(chan bool)
	s := newSidecar(t, passthrough.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":`)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-first:
		case <-time.After(10 * time.Second):
			t.Error("the app got no part of the response in 10s, want the first part")
		}
		panic(http.ErrAbortHandler)
	})
	s.refused = func(_ string, status int, body []byte) {
		t.Errorf("a refusal that breaks off: OnRefused got status %d and body %q, want no call of OnRefused", status, body)
	}
	res, err := s.Client().Do(s.request(t, http.MethodGet, "/me", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	part := make([]byte, 9)
	if _, err := io.ReadFull(res.Body, part); err != nil || string(part) != `{"error":` {
		t.Errorf("the first part: got %q, want %q; error: got %v, want nil", part, `{"error":`, err)
	}
	close(first)
	if _, err := io.ReadAll(res.Body); err == nil {
		t.Error("the rest of the response: got no error, want one")
	}
	if got := <-s.results; !got.Cut {
		t.Errorf("got the result %+v, want Cut", got)
	}
}
