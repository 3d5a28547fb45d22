package mock

import (
	"strings"
	"testing"
	"time"
)

func TestARevokedTokenIsRefusedFromThenOn(t *testing.T) {
	s := newStandOf(t, allApps, ServerOptions{})
	facebook := tokenOf(t, s.get(t, extendQuery("EAAG1")))
	for _, token := range []string{tokenOf(t, s.exchange(t, "IGAA-1")), tokenOf(t, s.get(t, "/access_token?"+threadsQuery("THQV1"))), facebook, "IGAAelsewhere"} {
		if a := s.get(t, "/me?access_token="+token); a.status != 200 {
			t.Fatalf("%s, not revoked: got %d %s, want 200", token, a.status, a.body)
		}
		for _, subcode := range []int{467, 460} {
			body := map[int]string{467: "&subcode=467"}[subcode]
			a := s.post(t, "/__revoke", urlencoded, "token="+token+body)
			if a.status != 200 || strings.Contains(a.body, token) {
				t.Errorf("/__revoke of %s with subcode %d: got %d %s, want 200 without the token", token, subcode, a.status, a.body)
			}
			a = s.get(t, "/me?access_token="+token)
			wantCode(t, "a read", a, 400, 190, subcode)
			if got := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, `OAuth "Facebook Platform" "invalid_token" "Error validating access token: `) {
				t.Errorf("%s: WWW-Authenticate: got %s, want invalid_token and the message", token, got)
			}
			wantCode(t, "a write", s.post(t, "/me/media?access_token="+token, urlencoded, ""), 400, 190, subcode)
		}
	}
	s.Reset()
	wantCode(t, "after a reset", s.get(t, "/me?access_token="+facebook), 400, 190, 460)
}

func TestARevokedTokenCannotBeRenewed(t *testing.T) {
	s := newStandOf(t, allApps, ServerOptions{})
	instagram, facebook := tokenOf(t, s.exchange(t, "IGAA-1")), tokenOf(t, s.get(t, extendQuery("EAAG1")))
	s.Age(25 * time.Hour)
	for _, token := range []string{instagram, facebook, "IGAA-2"} {
		s.Revoke(token, 467)
	}
	wantCode(t, "a refresh", s.refresh(t, instagram), 400, 190, 467)
	wantCode(t, "an exchange at Facebook", s.get(t, extendQuery(facebook)), 400, 190, 467)
	wantCode(t, "an exchange", s.exchange(t, "IGAA-2"), 400, 190, 467)
	if data := s.inspect(t, facebook); data["is_valid"] != false || data["error"].(map[string]any)["subcode"] != 467.0 {
		t.Errorf("debug_token: got %v, want an invalid token with subcode 467", data)
	}
	if a := s.exchange(t, "IGAA-1"); a.status != 200 {
		t.Errorf("another token: got %d %s, want 200", a.status, a.body)
	}
}

func TestARevocationNeedsATokenInTheBody(t *testing.T) {
	s := newStandOf(t, allApps, ServerOptions{})
	for target, body := range map[string]string{"/__revoke": "", "/__revoke?token=IGAA1": "", "/__revoke?x=1": "token=IGAA1"} {
		if a := s.post(t, target, urlencoded, body); a.status != 400 || !strings.Contains(a.body, "in the body") {
			t.Errorf("%s: got %d %s, want 400 with %q", target, a.status, a.body, "in the body")
		}
	}
	for _, subcode := range []string{"463", "x", "0"} {
		if a := s.post(t, "/__revoke", urlencoded, "token=IGAA1&subcode="+subcode); a.status != 400 || !strings.Contains(a.body, "460 or 467") {
			t.Errorf("%s: got %d %s, want 400 with %q", subcode, a.status, a.body, "460 or 467")
		}
	}
	if a := s.get(t, "/me?access_token=IGAA1"); a.status != 200 {
		t.Errorf("after refused revocations: got %d %s, want 200", a.status, a.body)
	}
	defer func() {
		if recover() == nil {
			t.Error("Revoke with subcode 463: got no panic, want one")
		}
	}()
	s.Revoke("IGAA1", 463)
}
