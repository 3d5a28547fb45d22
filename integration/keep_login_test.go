package integration

import (
	"net/url"
	"testing"

	"github.com/igproxy/igproxy/proxy/mock"
)

// Many apps read the user's profile with the short-lived token of the login, before they exchange
// it. Such a token cannot be refreshed. An attempt would cost a call for each login, and Meta's
// refusal would look as if the app had no access to the account.
func TestTheShortLivedTokenOfALoginIsNotRefreshed(t *testing.T) {
	t.Parallel()
	m, settings := startMeta(t)
	m.login.SetShape("flat")
	p := serve(t, append(settings, keeping(often)...)...)
	for _, s := range []struct {
		app, id      string
		elsewhere    string // a token that igproxy has never seen, so its end is unknown
		login, graph *mock.Instagram
	}{
		{"/apps/default", appID, "IGAA-elsewhere", m.login, m.graph},
		{"/apps/threads", threadsID, "THAA-elsewhere", m.threads, m.threads},
	} {
		r, err := callBack(t.Context(), p, s.id, s.login.Code(s.id, callback)+"#_")
		short := r.token()
		if err != nil || short == "" {
			t.Fatalf("%s: the call with the code: got %d %s, %v; want a token", s.app, r.status, r.body, err)
		}
		for _, token := range []string{short, s.elsewhere} {
			if r := p.fetch(t, s.app+"/me?fields=username&access_token="+url.QueryEscape(token)); r.status != 200 {
				t.Errorf("%s: got %d %s, want 200", s.app, r.status, r.body)
			}
		}
		eventually(t, "the token with an unknown end is refreshed", func() bool { return s.graph.RefreshesFor(s.elsewhere) == 1 })
		if got := s.graph.RefreshesFor(short); got != 0 {
			t.Errorf("%s: %d refreshes of a short-lived token, want 0", s.app, got)
		}
	}
}
