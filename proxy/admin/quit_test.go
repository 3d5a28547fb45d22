package admin_test

import (
	"context"
	"crypto/sha256"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/proxy/admin"
)

func TestQuitIsForTheOperatorOnThisMachineOnly(t *testing.T) {
	const secret = "0123456789abcdef"
	quits := 0
	o := admin.Options{Proxy: newProxy(t, optionsFor(t, nowhere)), AnyHost: true, Quit: func() { quits++ },
		Tokens: func() [][sha256.Size]byte { return [][sha256.Size]byte{sha256.Sum256([]byte(secret))} }}
	h := newHandler(t, o)
	post := func(h http.Handler, from string, local net.Addr, token string, peer *uint32) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/quit", nil)
		r.RemoteAddr = from
		r.Header.Set("X-Forwarded-For", "127.0.0.1")
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		ctx := context.WithValue(r.Context(), http.LocalAddrContextKey, local)
		if peer != nil {
			ctx = admin.WithPeer(ctx, *peer)
		}
		return send(h, r.WithContext(ctx))
	}
	tcp, socket, root, stranger := &net.TCPAddr{IP: net.IPv4zero, Port: 9090}, &net.UnixAddr{Name: "/s", Net: "unix"}, uint32(0), uint32(4001)
	for name, c := range map[string]struct {
		from  string
		local net.Addr
		token string
		peer  *uint32
		want  int
		says  string
	}{
		"loopback with the token":             {"127.0.0.1:5", tcp, secret, nil, 200, `{"quitting":true}`},
		"loopback in IPv6 with the token":     {"[::1]:5", tcp, secret, nil, 200, `{"quitting":true}`},
		"IPv4-mapped loopback with the token": {"[::ffff:127.0.0.1]:5", tcp, secret, nil, 200, `{"quitting":true}`},
		"loopback without the token":          {"127.0.0.1:5", tcp, "", nil, 401, "admin.token_file"},
		"loopback with a wrong token":         {"127.0.0.1:5", tcp, "wrong", nil, 401, "admin.token_file"},
		"another machine with the token":      {"10.1.2.3:5", tcp, secret, nil, 403, "only for programs on this machine"},
		"another machine in IPv6":             {"[fe80::1%eth0]:5", tcp, secret, nil, 403, "only for programs on this machine"},
		"an address that cannot be read":      {"nonsense", tcp, secret, nil, 403, "only for programs on this machine"},
		"root over the socket":                {"@", socket, "", &root, 200, `{"quitting":true}`},
		"another user over the socket":        {"@", socket, "", &stranger, 403, "admin.uids"},
		// On macOS, igproxy cannot read the UID of a caller.
		"the token over the socket": {"@", socket, secret, nil, 200, `{"quitting":true}`},
	} {
		before := quits
		w := post(h, c.from, c.local, c.token, c.peer)
		if w.Code != c.want || !strings.Contains(w.Body.String(), c.says) || (quits > before) != (c.want == 200) {
			t.Errorf("%s: got status %d with %q, want %d with %q; Quit was called: got %v, want %v", name, w.Code, w.Body, c.want, c.says, quits > before, c.want == 200)
		}
	}
	if got := operations(t, h, "quit", "denied"); got != "6" {
		t.Errorf("%s denied operations were counted, want 6", got)
	}
	o.Quit = nil
	h.Reload(o)
	if w := post(h, "127.0.0.1:5", tcp, secret, nil); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "admin.quit") {
		t.Errorf("after a reload turned quit off: got status %d with %q, want 403 with admin.quit", w.Code, w.Body)
	}
}
