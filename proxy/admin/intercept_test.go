package admin_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/admin"
)

// intercepting returns a Handler of a sidecar that has intercepted two connections, tunnelled a
// third one, and reports three open tunnels. others is its policy for hosts that it does not
// intercept.
func intercepting(t *testing.T, others string) *admin.Handler {
	t.Helper()
	p := newProxy(t, optionsFor(t, nowhere))
	p.Metrics().Tunnels(func() int { return 3 })
	h := newHandler(t, admin.Options{Proxy: p, Intercept: func() admin.Interception {
		return admin.Interception{Listen: "http://127.0.0.1:8081", Hosts: []string{"graph.instagram.com", "api.instagram.com"}, Others: others,
			Ends: time.Date(2036, 11, 24, 0, 0, 0, 0, time.UTC)}
	}})
	p.Metrics().Connected("graph.instagram.com", "intercepted")
	p.Metrics().Connected("api.instagram.com", "intercepted")
	p.Metrics().Connected("other", "tunnelled")
	return h
}

func TestTheInterceptionIsInTheStatusAndOnThePage(t *testing.T) {
	h := intercepting(t, "tunnel")
	got := status(t, h).Intercept
	if got == nil || got.Listen != "http://127.0.0.1:8081" || len(got.Hosts) != 2 || got.Tunnels != 3 || got.Ends.Year() != 2036 ||
		!maps.Equal(got.Connects, map[string]uint64{"intercepted": 2, "tunnelled": 1}) {
		t.Errorf("got the interception %+v, want the listener http://127.0.0.1:8081, 2 hosts, 2 intercepted and 1 tunnelled connection, 3 open tunnels, the end in 2036", got)
	}
	const want = "Interception HTTPS_PROXY of clients | http://127.0.0.1:8081 | Hosts | graph.instagram.com, api.instagram.com | " +
		"Connections in 15 min | 2 intercepted, 1 tunnelled | Other hosts | 3 tunnels open | The authority ends | 2036-11-24 |"
	if got := words(t, h); !strings.Contains(got, want) {
		t.Errorf("the page does not have %q:\n%s", want, got)
	}
	h = intercepting(t, "refuse")
	if got := words(t, h); !strings.Contains(got, "Other hosts | refused |") {
		t.Errorf("the page does not say that other hosts are refused:\n%s", got)
	}
}

func TestInterceptionThatIsOffIsNotInTheStatusOrOnThePage(t *testing.T) {
	h := handlerOf(t, newProxy(t, optionsFor(t, nowhere)))
	if got := status(t, h).Intercept; got != nil {
		t.Errorf("the status has the interception %+v, want nil", got)
	}
	if got := words(t, h); strings.Contains(got, "Interception") {
		t.Errorf("the page has a section for the interception, want no such section:\n%s", got)
	}
}
