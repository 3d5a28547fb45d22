package clients

import (
	"context"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// A program whose URLs cannot be changed reaches igproxy if Meta's host names resolve to igproxy's
// address. igproxy presents a certificate for these names, and the Host header selects the app.
func TestClientsReachIgproxyByMetasHostNames(t *testing.T) {
	instagram, upstream := harness.StandIn(t, mock.Options{AppID: appID, Secret: harness.AppSecret}, mock.ServerOptions{})
	facebook, graph := harness.StandIn(t, mock.Options{Host: "graph.facebook.com", Facebook: mock.App{AppID: "1786", Secret: "the-secret-of-another-app"}},
		mock.ServerOptions{})
	a := harness.NewAuthority(t)
	cert, key := a.Sign(t, "igproxy", "graph.instagram.com", "graph.facebook.com")
	p := harness.Serve(t, "UPSTREAM_URL="+upstream.URL, "FACEBOOK_URL="+graph.URL, "FACEBOOK_APP_ID=1786", "FACEBOOK_CLIENT_SECRET=the-secret-of-another-app",
		"TLS_CERT_FILE="+harness.File(t, "cert.pem", cert), "TLS_KEY_FILE="+harness.File(t, "key.pem", key))
	here, _ := url.Parse(p.URL)
	curl := func(host, path string) string {
		ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
		defer cancel()
		out, err := exec.CommandContext(ctx, "curl", "-sS", "--noproxy", "*", "--cacert", a.File, "--connect-to", host+":443:"+here.Host,
			"https://"+host+path).CombinedOutput()
		if err != nil {
			t.Fatalf("curl: %v\n%s", err, out)
		}
		return string(out)
	}
	for _, c := range []struct {
		ig                    *mock.Instagram
		host, exchange, token string
		read, user            string
	}{
		{instagram, "graph.instagram.com", harness.ExchangePath("IGAA-fixed"), "IGAA-fixed", "/me", "17841400000000001"},
		{facebook, "graph.facebook.com", "/v23.0/oauth/access_token?grant_type=fb_exchange_token&client_id=1786&fb_exchange_token=EAAG-fixed", "EAAG-fixed",
			"/v23.0/me", "10158000000000001"},
	} {
		answer, issued := curl(c.host, c.exchange), c.ig.Issued(c.token)
		if len(issued) != 1 || !strings.Contains(answer, `"access_token":"`+issued[0]+`"`) {
			t.Fatalf("%s: Meta issued %q, want one token; curl printed %s, want that token", c.host, issued, answer)
		}
		if me := curl(c.host, c.read+"?fields=id&access_token="+issued[0]); !strings.Contains(me, `"id":"`+c.user+`"`) {
			t.Errorf("%s: the read returned %s, want the user %s", c.host, me, c.user)
		}
		if strange := c.ig.Strange(); len(strange) > 0 {
			t.Errorf("%s: requests that igproxy must not send: got %q, want none", c.host, strange)
		}
	}
}
