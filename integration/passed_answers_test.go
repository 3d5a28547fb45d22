package integration

// SECURITY.md says what igproxy removes from the answers that it passes through. Everything else
// arrives unchanged.

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestResponseBodiesAreUnchangedAndCORSHeadersAreRemoved(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte(`{"data":[]}`))
	must(t, z.Close())
	bodies := map[string]string{"/plain": "{\"caption\":\"\xff\\u0000 é\"}\r\n", "/packed": packed.String(), "/empty": ""}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "access-control-expose-headers", "Access-Control-Of-Tomorrow"} {
			w.Header().Set(name, "*")
		}
		w.Header()["Set-Cookie"] = []string{"a=1; Secure", "b=2"}
		w.Header().Set("X-App-Usage", `{"call_count":1}`)
		w.Header().Set("Keep-Alive", "timeout=5")
		if r.URL.Path == "/packed" {
			w.Header().Set("Content-Encoding", "gzip")
		}
		w.WriteHeader(500)
		_, _ = w.Write([]byte(bodies[r.URL.Path]))
	}))
	t.Cleanup(s.Close)
	p := serve(t, "UPSTREAM_URL="+s.URL)
	for path, want := range bodies {
		r, err := sendRequest(t.Context(), "GET", p.URL+path, "") // sendRequest does not decompress
		if err != nil || r.status != 500 || r.body != want {
			t.Errorf("%s: got %d %q, %v, want 500 %q", path, r.status, r.body, err, want)
		}
		for name := range r.header {
			if strings.HasPrefix(strings.ToLower(name), "access-control-") || name == "Keep-Alive" {
				t.Errorf("%s: the app got the header %s, want it removed", path, name)
			}
		}
		if cookies := r.header["Set-Cookie"]; !slices.Equal(cookies, []string{"a=1; Secure", "b=2"}) || r.header.Get("X-App-Usage") == "" {
			t.Errorf("%s: cookies %q, header %v; want both cookies, and a header X-App-Usage", path, cookies, r.header)
		}
	}
}

// A batch call to Meta can contain calls to the token endpoints. Even then igproxy passes the batch
// through unchanged, and does not add the secret.
func TestBatchIsPassedOnWithoutTheSecret(t *testing.T) {
	t.Parallel()
	rec := newRecorder(t)
	p := serve(t, "UPSTREAM_URL="+rec.URL, "APP_ID="+appID)
	batch := url.Values{"access_token": {"IGAA-user"}, "batch": {`[{"method":"GET","relative_url":"access_token?grant_type=ig_exchange_token&access_token=IGAA-user"}]`}}.Encode()
	r, err := sendRequest(t.Context(), "POST", p.URL+"/?"+batch, batch, "Content-Type", "application/x-www-form-urlencoded")
	requests, _ := rec.take()
	if err != nil || r.status != 200 || len(requests) != 1 || !strings.HasPrefix(requests[0], "POST /?"+batch+"\n") || !strings.HasSuffix(requests[0], "\n"+batch) {
		t.Fatalf("got %d %s, %v, and the upstream got %q; want 200 and the unchanged batch", r.status, r.body, err, requests)
	}
	for form, needle := range forms(appSecret) {
		if strings.Contains(requests[0], needle) {
			t.Errorf("the upstream got the secret (%s): %s", form, requests[0])
		}
	}
}
