package mock

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestAProofMustBeRightIfSent(t *testing.T) {
	for _, host := range []string{"", "graph.facebook.com"} {
		of := allApps
		of.Host = host
		s := newStandOf(t, of, ServerOptions{})
		right, wrong := Proof(facebookSecret, "EAAG1"), Proof(facebookSecret, "EAAG2")
		for name, send := range map[string]func(proof string) answer{
			"query": func(p string) answer { return s.get(t, "/me?access_token=EAAG1&appsecret_proof="+p) },
			"bearer": func(p string) answer {
				return s.send(t, "GET", "/me?appsecret_proof="+p, nil, http.Header{"Authorization": {"Bearer EAAG1"}})
			},
			"form": func(p string) answer {
				return s.post(t, "/me/feed", urlencoded, url.Values{"access_token": {"EAAG1"}, "appsecret_proof": {p}}.Encode())
			},
		} {
			if a := send(right); a.status != 200 {
				t.Errorf("host %q, %s: got %d %s, want 200", host, name, a.status, a.body)
			}
			for _, p := range []string{wrong, "x", strings.ToUpper(right), Proof(testSecret, "EAAG1")} {
				a := send(p)
				if wantCode(t, name, a, 400, 100, 0); !strings.Contains(a.body, `"Invalid appsecret_proof provided in the API argument"`) {
					t.Errorf("host %q, %s, proof %s: got %s, want a body with %q", host, name, p, a.body, `"Invalid appsecret_proof provided in the API argument"`)
				}
			}
		}
	}
}

func TestAProofIsNeededOnceTheAppRequiresIt(t *testing.T) {
	s := newStandOf(t, allApps, ServerOptions{})
	control := func(mode string, want int) {
		t.Helper()
		if a := s.send(t, "POST", "/__proof?mode="+mode, nil, nil); a.status != want {
			t.Errorf("mode %q: got %d %s, want %d", mode, a.status, a.body, want)
		}
	}
	long := tokenOf(t, s.get(t, extendQuery("EAAG1")))
	control("required", 200)
	for _, token := range []string{"EAAG1", long} {
		a := s.get(t, "/me?access_token="+token)
		if wantCode(t, token, a, 400, 100, 0); !strings.Contains(a.body, "require an appsecret_proof argument") {
			t.Errorf("%s, without a proof: got %s, want a body with %q", token, a.body, "require an appsecret_proof argument")
		}
		wantCode(t, token, s.post(t, "/me/feed", urlencoded, "access_token="+token), 400, 100, 0)
		if a := s.get(t, "/me?access_token="+token+"&appsecret_proof="+Proof(facebookSecret, token)); a.status != 200 {
			t.Errorf("%s, with a proof: got %d %s, want 200", token, a.status, a.body)
		}
	}
	for _, token := range []string{"IGAA1", "THAA1"} {
		if a := s.get(t, "/me?access_token="+token); a.status != 200 {
			t.Errorf("%s: got %d %s, want 200", token, a.status, a.body)
		}
	}
	if a := s.get(t, extendQuery("EAAG1")); a.status != 200 {
		t.Errorf("an exchange: got %d %s, want 200", a.status, a.body)
	}
	control("", 400)
	control("optional", 200)
	if a := s.get(t, "/me?access_token="+long); a.status != 200 {
		t.Errorf("when proofs are optional again: got %d %s, want 200", a.status, a.body)
	}
	s = newStandOf(t, Options{RequireProof: true, Host: "graph.facebook.com"}, ServerOptions{})
	wantCode(t, "Options.RequireProof", s.get(t, "/me?access_token=EAAG1"), 400, 100, 0)
	if a := s.get(t, "/me?access_token=EAAG1&appsecret_proof="+Proof("any", "EAAG1")); a.status != 200 {
		t.Errorf("without a secret, any proof: got %d %s, want 200", a.status, a.body)
	}
	wantCode(t, "without a secret, a proof that is too short", s.get(t, "/me?access_token=EAAG1&appsecret_proof=00"), 400, 100, 0)
}
