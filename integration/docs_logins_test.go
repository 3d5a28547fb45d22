package integration

// The calls in docs/logins.md work as written, with the configurations on that page. The test
// replaces only addresses, codes, tokens and the paths of secrets.

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/proxy/mock"
)

// pageBlock matches a block of YAML or of shell commands in a page.
var pageBlock = regexp.MustCompile("(?ms)^```(yaml|sh)\n(.*?)^```$")

func TestLoginsPageCallsWorkAsWritten(t *testing.T) {
	t.Parallel()
	const facebookID, facebookSecret = "17860000000000001", "f4ceb00k5ecret0123456789abcdef"
	meta := mock.New(mock.Options{AppID: appID, Secret: appSecret, Threads: mock.App{AppID: threadsID, Secret: threadsSecret},
		Facebook: mock.App{AppID: facebookID, Secret: facebookSecret}})
	upstream, err := mock.Start(meta, mock.ServerOptions{})
	must(t, err)
	t.Cleanup(upstream.Close)
	env := without(environ("UPSTREAM_URL="+upstream.URL, "UPSTREAM_LOGIN_URL="+upstream.URL, "THREADS_URL="+upstream.URL,
		"FACEBOOK_URL="+upstream.URL, "DEBUG_TOKEN_ENABLED=true"), "IGPROXY_CLIENT_SECRET")
	secrets := strings.NewReplacer("/run/secrets/instagram", file(t, "instagram", appSecret), "/run/secrets/threads", file(t, "threads", threadsSecret),
		"/run/secrets/facebook", file(t, "facebook", facebookSecret))

	// run sends the request of a command on the page. The ID, the path or the grant type in the
	// command shows which app's token or code the command needs.
	run := func(p *process, line string) {
		t.Helper()
		prefix, app := "IG", appID
		switch {
		case strings.Contains(line, facebookID), strings.Contains(line, "/apps/facebook/"):
			prefix, app = "EAA", facebookID
		case strings.Contains(line, threadsID), strings.Contains(line, "=th_"):
			prefix, app = "TH", threadsID
		}
		r := curl(t, p, strings.NewReplacer("=SHORT", "="+prefix+"A-short", "=LONG", "="+prefix+"A-long", "=TOKEN", "="+prefix+"A-any",
			"=CODE", "="+meta.Code(app, callback)).Replace(line))
		if r.status != 200 || !strings.Contains(r.body, `"access_token":"`) && !strings.Contains(r.body, `"is_valid":true`) {
			t.Errorf("%sgot %d %s; want 200 with a token or is_valid", line, r.status, r.body)
		}
	}
	var p, three *process // p runs the latest configuration; three runs the configuration with all services
	var calls []string
	configurations := 0
	for _, block := range pageBlock.FindAllStringSubmatch(read(t, "../docs/logins.md"), -1) {
		if block[1] == "yaml" {
			p = start(t, env, "serve", "--config", file(t, "igproxy.yaml", secrets.Replace(block[2])))
			p.Listening(t)
			if configurations++; strings.Contains(block[2], "\nfacebook:") && strings.Contains(block[2], "\nthreads:") {
				three = p
			}
			continue
		}
		for line := range strings.Lines(block[2]) {
			if strings.Contains(line, "http://127.0.0.1:8080/") {
				calls = append(calls, line)
				run(p, line)
			}
		}
	}
	if len(calls) != 10 || configurations != 5 || three == nil {
		t.Fatalf("the page has %d calls and %d configurations, want 10 and 5, one of them with all three services", len(calls), configurations)
	}
	for _, line := range calls {
		run(three, line)
	}
	if strange := meta.Strange(); len(strange) > 0 {
		t.Errorf("Meta received requests that igproxy must not send: %q", strange)
	}
}

// curl plays the program curl: it sends the request of a command line on the page. The only options
// that it understands are -d and -X.
func curl(t *testing.T, p *process, line string) response {
	t.Helper()
	var form []string
	var target string
	method, words := http.MethodGet, strings.Fields(strings.ReplaceAll(line, `"`, ""))
	for i := 1; i < len(words); i++ {
		switch word := words[i]; word {
		case "-d", "-X":
			if i++; word == "-X" {
				method = words[i]
			} else {
				method, form = http.MethodPost, append(form, words[i])
			}
		default:
			target = word
		}
	}
	u, err := url.Parse(target)
	must(t, err)
	var fields []string
	if form != nil {
		fields = []string{"Content-Type", "application/x-www-form-urlencoded"}
	}
	r, err := sendRequest(t.Context(), method, p.URL+u.RequestURI(), strings.Join(form, "&"), fields...)
	must(t, err)
	return r
}
