package main

import (
	"strings"
	"testing"
)

func TestMockRefusesAHostThatItCannotPlay(t *testing.T) {
	code, stdout, stderr := command(t, nil, "mock", "--host", "www.facebook.com")
	want := `igproxy: --host: "www.facebook.com" is not one of api.instagram.com, graph.facebook.com, graph.instagram.com, graph.threads.com, graph.threads.net` + "\n"
	if code != exitUsage || stdout != "" || stderr != want {
		t.Errorf("exit code %d, want 2\ngot  %s%swant %s", code, stdout, stderr, want)
	}
}

func TestMockRefusesATokenLifeBelowASecond(t *testing.T) {
	for _, life := range []string{"0s", "999ms", "-1s"} {
		code, stdout, stderr := command(t, nil, "mock", "--token-life", life)
		if want := "igproxy: --token-life: use a time of 1s or more, such as 90s\n"; code != exitUsage || stdout != "" || stderr != want {
			t.Errorf("%s: exit code %d, want 2\ngot  %s%swant %s", life, code, stdout, stderr, want)
		}
	}
}

func TestTheHelpOfMockNamesEveryEndpoint(t *testing.T) {
	_, stdout, _ := command(t, nil, "mock", "--help")
	for _, want := range []string{"/access_token", "/refresh_access_token", "/oauth/access_token", "/me/media", "/__stats", "/__reset", "/__fault?",
		"/__latency", "/__code", "/__secret", "/__shape", "/__age", "/__stream", "/__faults", "--threads-secret TEXT", "--threads-app-id ID",
		"--facebook-secret TEXT", "--facebook-client-secret TEXT", "--facebook-app-id ID", "/debug_token", "/__proof", "/__revoke", "/__refresh?", "--token-life TIME", "/__webhook", "/__signed_request", "--app-id ID"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%s is not in the help", want)
		}
	}
}
