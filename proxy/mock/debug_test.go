package mock

import (
	"encoding/json"
	"net/url"
	"testing"
	"time"
)

const facebookKey = facebookApp + "|" + facebookSecret

// inspect calls debug_token, which must succeed, and returns the member "data" of the response.
func (s *stand) inspect(t *testing.T, input string) (data map[string]any) {
	t.Helper()
	var got struct{ Data map[string]any }
	a := s.get(t, "/debug_token?input_token="+url.QueryEscape(input)+"&access_token="+url.QueryEscape(facebookKey))
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 {
		t.Fatalf("inspecting %s: got %d %s (error %v), want 200 with JSON", input, a.status, a.body, err)
	}
	return got.Data
}

func TestDebugTokenDescribesATokenAsMetaDoes(t *testing.T) {
	s := newStandOf(t, allApps, ServerOptions{})
	begun := time.Now().Unix()
	long := tokenOf(t, s.get(t, extendQuery("EAAG1")))
	data := s.inspect(t, long)
	issued, expires := int64(data["issued_at"].(float64)), int64(data["expires_at"].(float64))
	if data["app_id"] != facebookApp || data["type"] != "USER" || data["is_valid"] != true || data["user_id"] != "10158000000000001" ||
		len(data["scopes"].([]any)) != 2 || issued < begun-1 || issued > begun+20 || expires-issued != 5183944 || data["data_access_expires_at"] == nil {
		t.Errorf("got %v, want a valid token of the user, issued just now, with an end 5183944 s later", data)
	}
	s.Age(61 * 24 * time.Hour)
	data = s.inspect(t, long)
	if data["is_valid"] != false || data["error"].(map[string]any)["subcode"] != 463.0 || int64(data["expires_at"].(float64)) > time.Now().Unix() {
		t.Errorf("expired: got %v, want an invalid token with subcode 463 and an end in the past", data)
	}
	if data := s.inspect(t, facebookKey); data["type"] != "APP" || data["is_valid"] != true || data["user_id"] != nil || data["expires_at"] != nil {
		t.Errorf("an app token: got %v, want a valid token of type APP, without a user or an end", data)
	}
	anyApp := newStandOf(t, Options{}, ServerOptions{})
	if data := anyApp.inspect(t, "EAAelsewhere"); data["app_id"] != facebookApp {
		t.Errorf("any app: got %v, want app_id %s", data, facebookApp)
	}
	if data := s.inspect(t, "EAAelsewhere"); data["is_valid"] != true {
		t.Errorf("a token that was not issued here: got %v, want a valid token", data)
	}
	threads := tokenOf(t, s.get(t, "/access_token?"+threadsQuery("THQV1")))
	for _, input := range []string{"nonsense", threads, "IGAA1", facebookApp + "|wrong"} {
		data := s.inspect(t, input)
		if data["is_valid"] != false || data["error"].(map[string]any)["code"] != 190.0 || data["app_id"] != nil {
			t.Errorf("%s: got %v, want an invalid token with code 190 and without app_id", input, data)
		}
	}
}

func TestDebugTokenRefusesWrongAccessTokens(t *testing.T) {
	for _, host := range []string{"", "graph.facebook.com"} {
		of := allApps
		of.Host = host
		s := newStandOf(t, of, ServerOptions{})
		debug := func(access string) string {
			return "/debug_token?input_token=EAAG1&access_token=" + url.QueryEscape(access)
		}
		wantCode(t, "no access token", s.get(t, "/debug_token?input_token=EAAG1"), 400, 104, 0)
		wantCode(t, "wrong secret", s.get(t, debug(facebookApp+"|wrong")), 400, 190, 0)
		wantCode(t, "another app", s.get(t, debug("17|"+facebookSecret)), 400, 190, 0)
		wantCode(t, "garbage", s.get(t, debug("x")), 400, 190, 0)
		wantCode(t, "another user's token", s.get(t, debug("EAAelsewhere")), 400, 100, 0)
		wantCode(t, "no input token", s.get(t, "/debug_token?access_token="+url.QueryEscape(facebookKey)), 400, 100, 0)
		wantCode(t, "a fault", s.get(t, "/debug_token?input_token=down-1&access_token="+url.QueryEscape(facebookKey)), 500, 2, 0)
		long := tokenOf(t, s.get(t, extendQuery("EAAG1")))
		if a := s.get(t, debug(long)); a.status != 200 {
			t.Errorf("a token that was issued here: got %d %s, want 200", a.status, a.body)
		}
		s.Age(61 * 24 * time.Hour)
		wantCode(t, "the same token, expired", s.get(t, debug(long)), 400, 190, 463)
	}
	s := newStandOf(t, Options{Host: "graph.instagram.com"}, ServerOptions{})
	wantCode(t, "at Instagram", s.get(t, "/debug_token?input_token=IGAA1&access_token=IGAA1"), 500, 2500, 0)
}
