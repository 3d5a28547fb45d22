package integration

// The commands in docs/keep.md work as written, and show what the page says. The test replaces only
// addresses and the paths of secrets. It runs the first command of the page last, because this
// command needs a token with a successor. Where the page sleeps for a second, the test waits until
// the token is refreshed.

import (
	"regexp"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/integration/harness"
)

func TestKeepPageCommandsWorkAsWritten(t *testing.T) {
	t.Parallel()
	blocks := map[string][]string{}
	for _, block := range pageBlock.FindAllStringSubmatch(read(t, "../docs/keep.md"), -1) {
		blocks[block[1]] = append(blocks[block[1]], block[2])
	}
	if len(blocks["yaml"]) != 1 || len(blocks["sh"]) != 3 {
		t.Fatalf("the page has %d configurations and %d blocks of commands, want 1 and 3", len(blocks["yaml"]), len(blocks["sh"]))
	}
	store, start, story := blocks["sh"][0], blocks["sh"][1], blocks["sh"][2]

	secrets := strings.NewReplacer("/run/secrets/instagram", file(t, "instagram", appSecret), "/run/secrets/igproxy-cache-key", file(t, "key", strings.Repeat("k", 32)))
	config := file(t, "igproxy.yaml", secrets.Replace(blocks["yaml"][0]))
	code, stdout, stderr := command(t, without(environ(), "IGPROXY_CLIENT_SECRET"), "check", "--config", config)
	if code != 0 || strings.Contains(stdout+stderr, "keep.enabled: ") { // other warnings are expected
		t.Errorf("exit code of check %d, want 0 without a warning about keep.enabled\n%s%s", code, stdout, stderr)
	}

	stand := regexp.MustCompile(`(?m)^igproxy mock (.*) &$`).FindStringSubmatch(start)
	if stand == nil || !strings.HasSuffix(start, "\nigproxy serve &\n") {
		t.Fatalf("the page does not start igproxy mock and igproxy serve:\n%s", start)
	}
	_, upstream := harness.Mock(t, strings.Fields(stand[1])...)
	var settings []string
	for _, found := range regexp.MustCompile(`IGPROXY_(\S+=\S+)`).FindAllStringSubmatch(start, -1) {
		settings = append(settings, strings.ReplaceAll(found[1], "http://127.0.0.1:8081", upstream))
	}
	p := serve(t, settings...)

	before, after, found := strings.Cut(strings.NewReplacer("http://127.0.0.1:8080", p.URL, "http://127.0.0.1:8081", upstream).Replace(story+store), "sleep 1\n")
	if !found {
		t.Fatalf("the page does not wait for the refresh:\n%s", story)
	}
	run := func(script string, want ...string) (lines []string) {
		t.Helper()
		lines = strings.Split(strings.TrimSpace(harness.Program(t, nil, "", "/bin/sh", "-c", script)), "\n")
		for i, pattern := range want {
			if len(lines) != len(want) || !regexp.MustCompile(pattern).MatchString(lines[i]) {
				t.Fatalf("the commands\n%s print\n%s\nwant %q", script, strings.Join(lines, "\n"), want)
			}
		}
		return lines
	}
	const profile, successor = `^{"username":"anna\.photos",.*}$`, `^{"access_token":"IG\w+","token_type":"bearer","expires_in":\d+}$`
	long := run(before+`echo "$LONG"`, `"older_by":"480h0m0s"`, profile, "^IG")[2]
	eventually(t, "the token is refreshed", func() bool { return len(p.Log.Lines("token refreshed")) == 1 })
	run("LONG="+long+"\n"+after, `"older_by":"600h0m0s"`, `"code":190,"error_subcode":463`, profile, successor, successor)
}
