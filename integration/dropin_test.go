package integration

// An app changes only its base URL. It may send igproxy the same requests that it sent to
// Instagram, with or without the secret. The responses look like Instagram's. Instagram gets
// the grant type, the real secret and the token, and no other parameters.

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/proxy/mock"
)

func TestAppNeedsToChangeOnlyItsBaseURL(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{TLS: true})
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "UPSTREAM_CA_FILE="+caFile(t, upstream))

	first := p.ask(t, "IGAA-first")
	if first.status != 200 || !strings.HasPrefix(first.body, `{"access_token":"IGAA`) || !strings.Contains(first.body, `,"token_type":"bearer","expires_in":518`) {
		t.Fatalf("got %d %s; want 200 with access_token, token_type and expires_in, in this order", first.status, first.body)
	}
	if issued := ig.Issued("IGAA-first"); len(issued) != 1 || issued[0] != first.token() {
		t.Errorf("the app got the token %q, and Instagram issued %q; want the same single token", first.token(), issued)
	}
	for name, want := range map[string]string{"Content-Type": "application/json; charset=UTF-8", "Cache-Control": "no-store",
		"X-Content-Type-Options": "nosniff", "Cache-Status": "igproxy; fwd=miss; stored"} {
		if got := first.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if first.header.Get("X-App-Usage") == "" {
		t.Error("X-App-Usage was not passed on")
	}

	t.Run("the same request in other forms is a hit", func(t *testing.T) {
		for _, path := range []string{
			"/access_token?grant_type=ig_exchange_token&client_secret=anything&access_token=IGAA-first",
			"/access_token?access_token=IGAA-first&&client_secret=&grant_type=ig_exchange_token",
			"/v23.0/access_token?grant_type=ig_exchange_token&access_token=IGAA-first",
			"/access_token/?grant_type=ig_exchange_token&access_token=IGAA-first&client_id=1&format=json&appsecret_proof=x",
		} {
			r, err := fetch(t.Context(), http.DefaultClient, p.URL+path)
			if err != nil || r.status != 200 || r.token() != first.token() || !strings.HasPrefix(r.header.Get("Cache-Status"), "igproxy; hit; ttl=") {
				t.Errorf("%s: got %d %s, %v; want 200 with the same token, as a hit", path, r.status, r.header.Get("Cache-Status"), err)
			}
		}
		if n := ig.CallsFor("IGAA-first"); n != 1 {
			t.Errorf("Instagram was asked %d times, want once", n)
		}
	})

	t.Run("errors have Instagram's format", func(t *testing.T) {
		r := p.ask(t, "expired-1")
		if e := r.graphError(t); r.status != 400 || e.Code != 190 || e.Subcode != 463 || e.Type != "OAuthException" || e.TraceID == "" {
			t.Errorf("got %d %+v, want 400 with code 190, subcode 463, a type and a trace ID", r.status, e)
		}
		if r := p.ask(t, "expired-1"); !strings.HasPrefix(r.header.Get("Cache-Status"), "igproxy; hit") || ig.CallsFor("expired-1") != 1 {
			t.Errorf("the repeated request got Cache-Status %q, want a hit, because a refusal is remembered; calls %d, want 1", r.header.Get("Cache-Status"), ig.CallsFor("expired-1"))
		}
		r, err := sendRequest(t.Context(), http.MethodPut, p.URL+exchangePath("IGAA-put"), "")
		if err != nil || r.status != 400 || r.graphError(t).Code != 100 || ig.CallsFor("IGAA-put") != 0 {
			t.Errorf("a PUT got %d %s, %v; want 400 with code 100; calls %d, want 0", r.status, r.body, err, ig.CallsFor("IGAA-put"))
		}
	})

	t.Run("unknown members of an answer are kept", func(t *testing.T) {
		if r := p.ask(t, "extra-1"); !strings.Contains(r.body, `"user_id":17841400000000001`) {
			t.Errorf("got %s, want the member user_id", r.body)
		}
	})

	if strange := ig.Strange(); len(strange) > 0 {
		t.Errorf("Instagram received requests that igproxy must not send: %v", strange)
	}
}

// If igproxy cannot verify Instagram's certificate, it does not send the call. It trusts only the
// authorities in upstream.ca_file or, if that is not set, the system's authorities.
func TestUpstreamTLSIsChecked(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]mock.ServerOptions{
		"unknown authority": {TLS: true},
		"expired":           {TLS: true, Expired: true},
		"wrong name":        {TLS: true, WrongName: true},
	} {
		t.Run(name, func(t *testing.T) {
			ig, upstream := instagram(t, o)
			settings := []string{"UPSTREAM_URL=" + upstream.URL}
			if name != "unknown authority" {
				settings = append(settings, "UPSTREAM_CA_FILE="+caFile(t, upstream))
			}
			p := serve(t, settings...)
			r := p.ask(t, "IGAA-1")
			if e := r.graphError(t); r.status != 503 || e.Code != 2 || !e.Transient || r.header.Get("Retry-After") == "" {
				t.Errorf("got %d %+v; want 503 with code 2, is_transient and Retry-After", r.status, e)
			}
			if ig.Calls() != 0 {
				t.Error("the secret went to a server that was not verified")
			}
			eventually(t, "the log says why", func() bool {
				return slices.ContainsFunc(p.Log.Lines("request"), func(line map[string]any) bool {
					return strings.HasPrefix(fmt.Sprint(line["cause"]), "tls")
				})
			})
		})
	}
}
