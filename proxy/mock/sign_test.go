package mock

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// The values were computed with openssl, not with this package.
func TestSignaturesEqualThoseOfOpenSSL(t *testing.T) {
	h := SignWebhook("the-secret", []byte(`{"text":"caf\u00e9"}`))
	if got, want := h.Get("X-Hub-Signature-256"), "sha256=03679294c8f0c38c913bee2eebdf33eddc9552b5f7ceab6d26e00d180bcd307a"; got != want {
		t.Errorf("X-Hub-Signature-256: got %s, want %s", got, want)
	}
	if got, want := h.Get("X-Hub-Signature"), "sha1=ad718f831c1d0d4924918faa9d896208a625fe3d"; got != want {
		t.Errorf("X-Hub-Signature: got %s, want %s", got, want)
	}
	if got, want := SignedRequest("the-secret", []byte(`{"algorithm":"HMAC-SHA256","user_id":"17"}`)), "U6Vrqc_PS-iI8cuSeFnQx6hqbakLttJ4NAylMC78Qe4.eyJhbGdvcml0aG0iOiJITUFDLVNIQTI1NiIsInVzZXJfaWQiOiIxNyJ9"; got != want {
		t.Errorf("SignedRequest: got %s, want %s", got, want)
	}
	if got, want := Proof("the-secret", "EAAG1"), "7de9a1a26b6e0b7f8b6e532a0cf80c4880eed9f4aa1db77c2e6ab72b00513824"; got != want {
		t.Errorf("Proof: got %s, want %s", got, want)
	}
}

// received is a request that a receiver of webhooks got.
type received struct {
	header http.Header
	body   []byte
}

func receiver(t *testing.T, status int) (string, chan received) {
	t.Helper()
	got := make(chan received, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- received{r.Header, body}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/webhook?x=1", got
}

func TestWebhooksAreDeliveredAsMetaSignsThem(t *testing.T) {
	s := newStandOf(t, allApps, ServerOptions{})
	for app, secret := range map[string]string{"": testSecret, "instagram": testSecret, "threads": threadsSecret, "facebook": facebookSecret} {
		for _, status := range []int{204, 403, 302} {
			to, got := receiver(t, status)
			a := s.send(t, "POST", "/__webhook?to="+url.QueryEscape(to)+"&app="+app, nil, nil)
			if want := fmt.Sprintf(`{"status":%d}`+"\n", status); a.status != 200 || a.body != want {
				t.Fatalf("app %q: got %d %s, want 200 %s", app, a.status, a.body, want)
			}
			r := <-got
			for name, want := range SignWebhook(secret, r.body) {
				if r.header.Get(name) != want[0] {
					t.Errorf("app %q: %s: got %s, want %s", app, name, r.header.Get(name), want[0])
				}
			}
			if !json.Valid(r.body) || !strings.Contains(string(r.body), `"text":"Cr\u00eapes \u2615 \ud83e\udd5e https:\/\/example.com\/menu"`) {
				t.Errorf("app %q: got the body %s, want JSON with escaped slashes and non-ASCII characters", app, r.body)
			}
		}
	}
	if s.Calls() != 0 {
		t.Errorf("Calls: got %d, want 0, because control endpoints are not counted", s.Calls())
	}
}

func TestWebhooksAreDeliveredOnlyOnThisMachine(t *testing.T) {
	s := newStandOf(t, allApps, ServerOptions{})
	for _, to := range []string{"", "http://192.0.2.1/", "http://example.com/", "http://localhost.example.com/", "https://127.0.0.1/", "file:///etc/passwd",
		"http://127.0.0.1@192.0.2.1/", "127.0.0.1:80", "http://0x7f.1/", "://"} {
		a := s.send(t, "POST", "/__webhook?to="+url.QueryEscape(to), nil, nil)
		if a.status != 400 || !strings.Contains(a.body, "to must be") {
			t.Errorf("%s: got %d %s, want 400 with %q", to, a.status, a.body, "to must be")
		}
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	if a := s.send(t, "POST", "/__webhook?to="+closed.URL, nil, nil); a.status != 502 || !strings.Contains(a.body, "not delivered") {
		t.Errorf("a receiver that is closed: got %d %s, want 502 with %q", a.status, a.body, "not delivered")
	}
}

func TestSignedRequestsAreIssuedForEachApp(t *testing.T) {
	s := newStandOf(t, Options{Secret: testSecret, Facebook: App{Secret: facebookSecret}}, ServerOptions{})
	for target, want := range map[string]struct{ secret, user string }{
		"/__signed_request": {testSecret, "17841400000000001"}, "/__signed_request?user_id=17": {testSecret, "17"},
		"/__signed_request?app=facebook": {facebookSecret, "10158000000000001"},
	} {
		var got struct {
			Request string `json:"signed_request"`
		}
		a := s.send(t, "POST", target, nil, nil)
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 {
			t.Fatalf("%s: got %d %s, want 200", target, a.status, a.body)
		}
		signed := func(payload string) bool { return SignedRequest(want.secret, []byte(payload)) == got.Request }
		payload := decoded(t, got.Request)
		var members struct {
			Algorithm string
			Issued    int64  `json:"issued_at"`
			User      string `json:"user_id"`
		}
		if err := json.Unmarshal([]byte(payload), &members); err != nil || !signed(payload) || members.User != want.user ||
			members.Algorithm != "HMAC-SHA256" || members.Issued == 0 {
			t.Errorf("%s: got %s, want a signed payload about user %s", target, payload, want.user)
		}
	}
	for target, says := range map[string]string{"/__signed_request?app=threads": "no client secret", "/__signed_request?app=x": "app must be",
		"/__webhook?app=threads&to=http://localhost/": "no client secret"} {
		if a := s.send(t, "POST", target, nil, nil); a.status != 400 || !strings.Contains(a.body, says) {
			t.Errorf("%s: got %d %s, want 400 with %q", target, a.status, a.body, says)
		}
	}
}

// decoded returns the payload of a signed request.
func decoded(t *testing.T, request string) string {
	t.Helper()
	_, payload, _ := strings.Cut(request, ".")
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
