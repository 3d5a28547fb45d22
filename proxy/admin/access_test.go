package admin_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/proxy/admin"
)

func TestOperationsAreForTheOperatorOnly(t *testing.T) {
	const secret = "0123456789abcdef"
	digests := func() [][sha256.Size]byte { return [][sha256.Size]byte{sha256.Sum256([]byte(secret))} }
	ran := false
	own := uint32(os.Getuid())
	options := admin.Options{Proxy: newProxy(t, optionsFor(t, nowhere)), UIDs: []string{"4000"},
		Operations: map[string]func() (bool, any){"reload": func() (bool, any) { ran = true; return true, "done" }}}
	without := newHandler(t, options)
	options.Tokens = digests
	with := newHandler(t, options)
	uid := func(n uint32) *uint32 { return &n }
	for name, c := range map[string]struct {
		peer          *uint32 // the UID; nil: TCP, or a system that does not report UIDs
		authorization []string
		without, with int    // the status without and with a token file
		says          string // a part of the response
	}{
		"root":                             {uid(0), nil, 200, 200, ""},
		"igproxy's own user":               {&own, nil, 200, 200, ""},
		"a listed user":                    {uid(4000), nil, 200, 200, ""},
		"a listed user with a wrong token": {uid(4000), []string{"Bearer wrong"}, 200, 200, ""},
		"another user":                     {uid(own + 4001), nil, 403, 403, "admin.uids"},
		"UID 65534, an unmapped user":      {uid(65534), nil, 403, 403, "UID 65534"},
		"another user with the token":      {uid(own + 4001), []string{"Bearer " + secret}, 403, 200, ""},
		"TCP":                              {nil, nil, 403, 401, "admin.token_file"},
		"TCP with the token":               {nil, []string{"Bearer " + secret}, 403, 200, ""},
		"TCP, the scheme in capitals":      {nil, []string{"BEARER " + secret}, 403, 200, ""},
		"TCP with another token":           {nil, []string{"Bearer 0123456789abcdee"}, 403, 401, "admin.token_file"},
		"TCP with a longer token":          {nil, []string{"Bearer " + secret + "0"}, 403, 401, "admin.token_file"},
		"TCP with an empty token":          {nil, []string{"Bearer "}, 403, 401, "admin.token_file"},
		"TCP with an empty header":         {nil, []string{""}, 403, 401, "admin.token_file"},
		"TCP with the token and no scheme": {nil, []string{secret}, 403, 401, "admin.token_file"},
		"TCP with the token twice":         {nil, []string{"Bearer " + secret, "Bearer " + secret}, 403, 401, "admin.token_file"},
		"TCP with the token as Basic":      {nil, []string{"Basic " + secret}, 403, 401, "admin.token_file"},
	} {
		for h, want := range map[*admin.Handler]int{without: c.without, with: c.with} {
			ran = false
			r := httptest.NewRequest(http.MethodPost, "/reload", nil)
			r.Header.Set("X-Forwarded-For", "127.0.0.1")
			r.Header["Authorization"] = c.authorization
			if c.peer != nil {
				r = r.WithContext(admin.WithPeer(r.Context(), *c.peer))
			}
			w := send(h, r)
			if w.Code != want || ran != (want == 200) || want != 200 && !strings.Contains(w.Body.String(), c.says) {
				t.Errorf("%s, token file %v: got status %d with %q, want %d with %q; the operation ran: got %v, want %v", name, h == with, w.Code, w.Body, want, c.says, ran, want == 200)
			}
			if got := w.Header().Get("WWW-Authenticate") != ""; got != (want == 401) {
				t.Errorf("%s, status %d: the header WWW-Authenticate is set: got %v, want %v", name, w.Code, got, !got)
			}
			if strings.Contains(w.Body.String(), secret) {
				t.Errorf("%s: the response contains the token", name)
			}
		}
	}
}

func TestAReloadChangesWhoMayRunOperations(t *testing.T) {
	o := admin.Options{Proxy: newProxy(t, optionsFor(t, nowhere))}
	h := newHandler(t, o)
	purgeAs := func() int {
		r := httptest.NewRequest(http.MethodPost, "/purge", nil)
		return send(h, r.WithContext(admin.WithPeer(r.Context(), 4000))).Code
	}
	if got := purgeAs(); got != 403 {
		t.Errorf("before the reload: got %d, want 403", got)
	}
	o.UIDs = []string{fmt.Sprint(4000)}
	h.Reload(o)
	if got := purgeAs(); got != 200 {
		t.Errorf("after the reload: got %d, want 200", got)
	}
}
