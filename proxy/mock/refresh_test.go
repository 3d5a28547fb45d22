package mock

import (
	"strings"
	"testing"
	"time"
)

func TestLongLivedTokenCanBeRefreshedAfterADayUntilItExpires(t *testing.T) {
	s := newStand(t, ServerOptions{})
	long := tokenOf(t, s.exchange(t, "IGAA-anna"))
	wantCode(t, "at once", s.refresh(t, long), 400, 190, 0)
	s.Age(refreshAge - time.Minute)
	a := s.refresh(t, long)
	wantCode(t, "a minute too early", a, 400, 190, 0)
	if !strings.Contains(a.body, "24 hours old") || len(s.Issued(long)) != 0 {
		t.Errorf("got %s, want a body with \"24 hours old\"; %d new tokens, want 0", a.body, len(s.Issued(long)))
	}
	s.Age(time.Minute)
	a = s.refresh(t, long)
	issued := s.Issued(long)
	if len(issued) != 1 || a.body != `{"access_token":"`+issued[0]+`","token_type":"bearer","expires_in":5183961}` || issued[0] == long {
		t.Fatalf("got %d %s, want 200 with a new token; issued %v, want one token", a.status, a.body, issued)
	}
	wantCode(t, "the new token, at once", s.refresh(t, issued[0]), 400, 190, 0)
	s.Age(58 * 24 * time.Hour)
	if a := s.refresh(t, long); a.status != 200 {
		t.Errorf("in its last day: got %d %s, want 200", a.status, a.body)
	}
	s.Age(24 * time.Hour)
	wantCode(t, "expired", s.refresh(t, long), 400, 190, 463)
	wantCode(t, "expired, in a read", s.get(t, "/me?access_token="+long), 400, 190, 463)
	if a := s.refresh(t, issued[0]); a.status != 200 {
		t.Errorf("the token from the first refresh: got %d %s, want 200", a.status, a.body)
	}
	if strange := s.Strange(); len(strange) > 0 {
		t.Errorf("strange requests: got %v, want none", strange)
	}
}

func TestTokenThatWasNotIssuedHereIsOldEnoughForARefresh(t *testing.T) {
	s := newStand(t, ServerOptions{})
	for _, target := range []string{"/refresh_access_token", "/v22.0/refresh_access_token"} {
		for _, token := range []string{"IGAAbefore", "IGQVold", "EAAfacebook"} {
			if a := s.get(t, target+"?grant_type=ig_refresh_token&access_token="+token); a.status != 200 {
				t.Errorf("%s %s: got %d %s, want 200", target, token, a.status, a.body)
			}
		}
	}
	for _, token := range []string{"x", "THAAthreads", "igaa"} {
		wantCode(t, token, s.refresh(t, token), 400, 190, 0)
	}
}

func TestRefreshChecksHaveInstagramsOrder(t *testing.T) {
	s := newStand(t, ServerOptions{})
	wantCode(t, "wrong method", s.post(t, "/refresh_access_token", urlencoded, ""), 400, 100, 0)
	wantCode(t, "token before grant", s.get(t, "/refresh_access_token?grant_type=x"), 400, 2500, 0)
	a := s.get(t, "/refresh_access_token?grant_type=ig_exchange_token&access_token=expired-1")
	wantCode(t, "grant before fault", a, 400, 100, 0)
	if !strings.Contains(a.body, "must be one of {ig_refresh_token}") {
		t.Errorf("grant before fault: got %s, want a body with %q", a.body, "must be one of {ig_refresh_token}")
	}
	long := tokenOf(t, s.exchange(t, "IGAA-anna"))
	s.SetFault("down")
	wantCode(t, "fault before age", s.refresh(t, long), 500, 2, 0)
}

func TestTokenOfTheWrongKindIsRefused(t *testing.T) {
	s := newStand(t, ServerOptions{})
	short := tokenOf(t, s.login(t, loginForm("AQcode")))
	s.Age(59 * time.Minute)
	wantCode(t, "a short-lived token, refreshed", s.refresh(t, short), 400, 100, 0)
	long := tokenOf(t, s.exchange(t, short))
	wantCode(t, "a long-lived token, exchanged", s.exchange(t, long), 400, 452, 4279019)
	s.Age(time.Minute)
	wantCode(t, "a short-lived token after its hour", s.exchange(t, short), 400, 190, 463)
	wantCode(t, "the same token in a read", s.get(t, "/me?access_token="+short), 400, 190, 463)
	s.Reset()
	wantCode(t, "a long-lived token, exchanged after a reset", s.exchange(t, long), 400, 452, 4279019)
}

func TestFaultsApplyToRefreshes(t *testing.T) {
	s := newStand(t, ServerOptions{})
	for name, want := range wantRefusals {
		if a := s.refresh(t, name+"-1"); a.status != want.status || !strings.HasPrefix(a.body, `{"error":{`+want.inside+`,`) {
			t.Errorf("%s: got %d %s, want %d with %s", name, a.status, a.body, want.status, want.inside)
		}
	}
	for _, name := range []string{"extra", "noexpires", "dupkeys", "flaky500"} {
		a, exchanged := s.refresh(t, name+"-1"), s.exchange(t, name+"-2")
		if a.status != exchanged.status || len(a.body)-len(exchanged.body) > 1 || len(exchanged.body)-len(a.body) > 1 {
			t.Errorf("%s: got %d %s, want the same status and nearly the same length as an exchange: %d %s", name, a.status, a.body, exchanged.status, exchanged.body)
		}
	}
}

func TestTokensAreAgedByAControlEndpoint(t *testing.T) {
	s := newStand(t, ServerOptions{})
	long := tokenOf(t, s.exchange(t, "IGAA-anna"))
	if a := s.send(t, "POST", "/__age?d=25h", nil, nil); a.status != 200 || a.body != `{"older_by":"25h0m0s"}`+"\n" {
		t.Errorf("d=25h: got %d %s, want 200 with body %s", a.status, a.body, `{"older_by":"25h0m0s"}`+"\n")
	}
	if a := s.refresh(t, long); a.status != 200 {
		t.Errorf("a refresh after 25 hours: got %d %s, want 200", a.status, a.body)
	}
	for _, d := range []string{"", "25", "-1h"} {
		if a := s.send(t, "POST", "/__age?d="+d, nil, nil); a.status != 400 || !strings.Contains(a.body, "unit") {
			t.Errorf("d=%s: got %d %s, want 400 with %q", d, a.status, a.body, "unit")
		}
	}
}
