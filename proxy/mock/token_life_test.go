package mock

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// renewable has the calls with which a family issues long-lived tokens. At Facebook, exchange and
// refresh are the same call.
type renewable struct {
	name     string
	exchange func(token string) string // returns the path and query
	refresh  func(token string) string
	short    string // a token for the first exchange
}

var renewables = []renewable{
	{"instagram", func(token string) string { return "/access_token?" + query(token) },
		func(token string) string {
			return "/refresh_access_token?grant_type=ig_refresh_token&access_token=" + token
		}, "IGAA-anna"},
	{"threads", func(token string) string { return "/access_token?" + threadsQuery(token) },
		func(token string) string {
			return "/refresh_access_token?grant_type=th_refresh_token&access_token=" + token
		}, "THQV-anna"},
	{"facebook", extendQuery, extendQuery, "EAAG-anna"},
}

func TestATokenThatHasEndedIsRefusedByEveryCall(t *testing.T) {
	of := allApps
	of.TokenLife = 48 * time.Hour
	for _, f := range renewables {
		s := newStandOf(t, of, ServerOptions{})
		a := s.get(t, f.exchange(f.short))
		if !strings.HasSuffix(a.body, `"expires_in":172800}`) {
			t.Errorf("%s: got %d %s, want expires_in 172800", f.name, a.status, a.body)
		}
		long := tokenOf(t, a)
		calls := map[string]func() answer{
			"a read":     func() answer { return s.get(t, "/me?access_token="+long) },
			"a list":     func() answer { return s.get(t, "/v23.0/me/media?access_token="+long) },
			"a node":     func() answer { return s.get(t, "/17900000000000007?access_token="+long) },
			"a write":    func() answer { return s.post(t, "/me/media", urlencoded, "access_token="+long) },
			"a deletion": func() answer { return s.send(t, "DELETE", "/17900000000000007?access_token="+long, nil, nil) },
			"a refresh":  func() answer { return s.get(t, f.refresh(long)) },
		}
		s.Age(48*time.Hour - time.Minute)
		for name, call := range calls {
			if a := call(); a.status != 200 {
				t.Errorf("%s, %s in the token's last minute: got %d %s, want 200", f.name, name, a.status, a.body)
			}
		}
		s.Age(time.Minute)
		for name, call := range calls {
			wantCode(t, f.name+", "+name, call(), 400, 190, 463)
		}
		wantCode(t, f.name+", an exchange", s.get(t, f.exchange(long)), 400, 190, 463)
	}
}

func TestARefreshReturnsANewTokenOrTheSameWithANewLife(t *testing.T) {
	of := allApps
	of.TokenLife = 48 * time.Hour
	for _, f := range renewables {
		s := newStandOf(t, of, ServerOptions{})
		long := tokenOf(t, s.get(t, f.exchange(f.short)))
		s.Age(47 * time.Hour)
		successor := tokenOf(t, s.get(t, f.refresh(long)))
		if a := s.post(t, "/__refresh?mode=same", "", ""); a.status != 200 || a.body != `{"refresh":"same"}`+"\n" {
			t.Errorf("%s: /__refresh?mode=same: got %d %s, want 200 with body %s", f.name, a.status, a.body, `{"refresh":"same"}`+"\n")
		}
		a := s.get(t, f.refresh(long))
		if same := tokenOf(t, a); successor == long || same != long || !strings.HasSuffix(a.body, `"expires_in":172800}`) {
			t.Errorf("%s: the first refresh returned the token that was sent: %t, want false; the second: got %s, want the token that was sent, with expires_in 172800",
				f.name, successor == long, a.body)
		}
		if got, want := fmt.Sprint(s.Issued(long)), fmt.Sprint([]string{successor, long}); got != want {
			t.Errorf("%s: issued %s, want %s", f.name, got, want)
		}
		s.Age(47 * time.Hour)
		if a := s.get(t, "/me?access_token="+long); a.status != 200 {
			t.Errorf("%s, in its second life: got %d %s, want 200", f.name, a.status, a.body)
		}
		s.post(t, "/__refresh?mode=new", "", "")
		if next := tokenOf(t, s.get(t, f.refresh(long))); next == long {
			t.Errorf("%s: a refresh after mode=new: got the token that was sent, want a new token", f.name)
		}
		s.Age(time.Hour)
		wantCode(t, f.name+", after its second life", s.get(t, "/me?access_token="+long), 400, 190, 463)
		if got := s.RefreshesFor(long); got != 3 || s.CallsFor(long) != 5 || s.RefreshesFor(f.short) != 0 {
			t.Errorf("%s, long-lived token: %d refreshes, want 3; %d calls, want 5; short-lived token: %d refreshes, want 0",
				f.name, got, s.CallsFor(long), s.RefreshesFor(f.short))
		}
		if a := s.get(t, "/__stats"); !strings.Contains(a.body, `"`+hashOf(long)+`":{"calls":5,"refreshes":3,`) {
			t.Errorf("%s: got %s, want a body with %q", f.name, a.body, `"`+hashOf(long)+`":{"calls":5,"refreshes":3,`)
		}
	}
}

func TestARefusedRefreshIsCounted(t *testing.T) {
	s := newStandOf(t, allApps, ServerOptions{})
	long := tokenOf(t, s.exchange(t, "IGAA-anna"))
	wantCode(t, "at once", s.refresh(t, long), 400, 190, 0)
	s.SetFault("down")
	wantCode(t, "with a fault", s.refresh(t, long), 500, 2, 0)
	if got := s.RefreshesFor(long); got != 2 {
		t.Errorf("%d refreshes, want 2", got)
	}
}

// A token that the stand-in did not issue has no known end until a refresh returns it.
func TestATokenIssuedElsewhereHasAnEndAfterItsRefresh(t *testing.T) {
	s := newStandOf(t, Options{TokenLife: time.Hour}, ServerOptions{})
	s.SetRefresh("same")
	if got := tokenOf(t, s.refresh(t, "IGAAelsewhere")); got != "IGAAelsewhere" {
		t.Errorf("got %s, want the token that was sent", got)
	}
	s.Age(time.Hour)
	wantCode(t, "a read", s.get(t, "/me?access_token=IGAAelsewhere"), 400, 190, 463)
}

func TestARevokedTokenIsNotRefreshedInTheModeSame(t *testing.T) {
	s := newStandOf(t, allApps, ServerOptions{})
	long := tokenOf(t, s.exchange(t, "IGAA-anna"))
	s.SetRefresh("same")
	s.Age(25 * time.Hour)
	s.Revoke(long, 460)
	wantCode(t, "a refresh", s.refresh(t, long), 400, 190, 460)
}

// If the minimum age were always a day, a token that lives for less than a day could never be
// refreshed.
func TestTheMinimumAgeForARefreshIsA60thOfALifeAtMostADay(t *testing.T) {
	for life, least := range map[time.Duration]time.Duration{90 * time.Second: 1500 * time.Millisecond, time.Hour: time.Minute,
		60 * 24 * time.Hour: refreshAge, 120 * 24 * time.Hour: refreshAge} {
		s := newStandOf(t, Options{TokenLife: life}, ServerOptions{})
		if got := s.minRefreshAge(); got != least {
			t.Errorf("TokenLife %s: the minimum age: got %s, want %s", life, got, least)
		}
		long := tokenOf(t, s.exchange(t, "IGAA-anna"))
		if life >= time.Hour {
			s.Age(least - least/4)
			wantCode(t, life.String(), s.refresh(t, long), 400, 190, 0)
		}
		s.Age(least)
		if a := s.refresh(t, long); a.status != 200 {
			t.Errorf("TokenLife %s: a refresh: got %d %s, want 200", life, a.status, a.body)
		}
	}
}

func TestTokenLifeIsWholeSeconds(t *testing.T) {
	s := newStandOf(t, Options{TokenLife: 2500 * time.Millisecond}, ServerOptions{})
	if a := s.exchange(t, "IGAA-anna"); !strings.HasSuffix(a.body, `"expires_in":2}`) {
		t.Errorf("got %d %s, want expires_in 2", a.status, a.body)
	}
	for _, life := range []time.Duration{-1, 1, time.Second - 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("TokenLife %s: got no panic, want one", life)
				}
			}()
			New(Options{TokenLife: life})
		}()
	}
}

func TestUnknownRefreshModesAreRefused(t *testing.T) {
	s := newStand(t, ServerOptions{})
	for _, target := range []string{"/__refresh", "/__refresh?mode=", "/__refresh?mode=other"} {
		if a := s.post(t, target, "", ""); a.status != 400 || a.body != `{"error":"mode must be new or same"}`+"\n" {
			t.Errorf("%s: got %d %s, want 400 with body %s", target, a.status, a.body, `{"error":"mode must be new or same"}`+"\n")
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("SetRefresh(\"other\"): got no panic, want one")
		}
	}()
	s.SetRefresh("other")
}
