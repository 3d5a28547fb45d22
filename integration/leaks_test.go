package integration

// The client secret and the tokens get out nowhere: not in the log at debug level, not in metrics or admin pages, not in an error's body
// or header, not in Redis, not on the command line; neither as they are nor encoded.

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/proxytest"
)

// forms of a canary that would betray it.
func forms(canary string) map[string]string {
	sum := sha256.Sum256([]byte(canary))
	return map[string]string{
		"raw":        canary,
		"url":        url.QueryEscape(canary),
		"base64":     base64.StdEncoding.EncodeToString([]byte(canary))[:4*(len(canary)/3)],
		"base64url":  base64.URLEncoding.EncodeToString([]byte(canary))[:4*(len(canary)/3)],
		"hex":        hex.EncodeToString([]byte(canary)),
		"HEX":        strings.ToUpper(hex.EncodeToString([]byte(canary))),
		"json":       strings.Trim(strconv.Quote(canary), `"`),
		"sha256":     hex.EncodeToString(sum[:]),
		"sha256 raw": string(sum[:]),
		"sha256 b64": base64.StdEncoding.EncodeToString(sum[:]),
	}
}

func TestNoLeaks(t *testing.T) {
	const short = "IGAAcanary+short/1234567890"
	ig, upstream := instagram(t, proxytest.ServerOptions{TLS: true})
	redis := redistest.Start(t)
	keyFile := filepath.Join(t.TempDir(), "key")
	const key = "canary-key-file-0123456789abcdef0123456789"
	if err := os.WriteFile(keyFile, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "UPSTREAM_CA_FILE="+caFile(t, upstream), "REDIS_MODE=single", "REDIS_URL="+redis.URL(),
		"CACHE_KEY_FILE="+keyFile, "UPSTREAM_TIMEOUT=1s", "BREAKER_FAILURES=1000", "BREAKER_MIN_REQUESTS=1000")

	shorts := []string{short, "reflect-canary-123456", "reflecterr-canary-12345", "expired-canary-123456", "html-canary-1234567", "badjson-canary-12345",
		"reset-canary-1234567", "garbageline-canary-12", "redirect-canary-1234", "hang-canary-12345678"}
	var seen strings.Builder // everything an app sees, but the long-lived token in its own answer
	for _, s := range shorts {
		r := p.ask(t, s)
		if r.status != 200 {
			fmt.Fprintln(&seen, r.body)
		}
		fmt.Fprintln(&seen, r.header)
	}
	for _, path := range []string{
		"/access_token?access_token=" + short + "&client_secret=" + appSecret, // a raw + is refused
		"/access_token?grant_type=ig_exchange_token&access_token=" + url.QueryEscape(short) + "&access_token=2",
		"/" + url.PathEscape(short),
		"/access_token?grant_type=" + url.QueryEscape(short) + "&access_token=1",
		"/access_token?grant_type=ig_exchange_token&x=%zz&access_token=" + url.QueryEscape(short),
	} {
		r, err := fetch(t.Context(), http.DefaultClient, p.url+path)
		if err != nil || r.status < 400 {
			t.Fatalf("%s: %d %v", path, r.status, err)
		}
		if strings.HasPrefix(path, "/access_token") { // else it is Instagram's own answer, passed through to the app that asked
			fmt.Fprintln(&seen, r.body, r.header)
		}
	}
	bearer, err := http.NewRequest(http.MethodPost, p.url+"/access_token", strings.NewReader("access_token="+short))
	if err != nil {
		t.Fatal(err)
	}
	bearer.Header.Set("Authorization", "Bearer "+short)
	if res, err := http.DefaultClient.Do(bearer); err == nil {
		res.Body.Close()
	}
	eventually(t, "the entry is in Redis", func() bool { return len(redis.Dump()) >= 2 })

	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var stored strings.Builder
	for k, v := range redis.Dump() {
		fmt.Fprintln(&stored, k, v)
	}
	places := map[string]string{"an answer": seen.String(), "the command line": string(cmdline), "redis": stored.String(),
		"/metrics": p.page(t, "/metrics").body, "/readyz": p.page(t, "/readyz").body, "/healthz": p.page(t, "/healthz").body}
	_, check, _ := command(t, environ("UPSTREAM_URL="+upstream.URL), "check")
	places["check"] = check
	p.stop(t)
	places["the log"] = p.log.String()

	canaries := append([]string{appSecret, key}, shorts...)
	canaries = append(canaries, ig.Issued(short)...)
	for place, text := range places {
		for _, canary := range canaries {
			for form, needle := range forms(canary) {
				if strings.Contains(text, needle) {
					t.Errorf("%s holds %s as %s", place, canary[:8]+"...", form)
				}
			}
		}
		if text == "" {
			t.Errorf("%s is empty: this test looked at nothing", place)
		}
	}
	// The search itself must be able to find.
	if !strings.Contains(fmt.Sprint(canaries), forms(appSecret)["raw"]) || len(ig.Issued(short)) != 1 {
		t.Error("the canaries were not in use")
	}
}
