package admin_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/proxy/admin"
)

func TestResumeEndsThePausesOfTheNamedAppOrOfAllApps(t *testing.T) {
	_, base := newInstagram(t)
	var log bytes.Buffer
	p := newProxy(t, optionsFor(t, base))
	h := newHandler(t, admin.Options{Proxy: p, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for name, c := range map[string]struct {
		target, body string
		status       int
		resumed      int
		problem      string
	}{
		"all apps":       {"/resume", "", 200, 1, ""},
		"one app":        {"/resume", "app=default", 200, 1, ""},
		"an unknown app": {"/resume", "app=other", 422, 0, "no app has this name"},
		"an empty name":  {"/resume", "app=", 400, 0, "send app=NAME"},
		"two apps":       {"/resume", "app=default&app=other", 400, 0, "send app=NAME"},
		"another field":  {"/resume", "app=default&x=1", 400, 0, "send app=NAME"},
		"a token":        {"/resume", "access_token=IGAA", 400, 0, "send app=NAME"},
		"JSON":           {"/resume", `{"app":"default"}`, 400, 0, "send app=NAME"},
		"malformed":      {"/resume", "app=%", 400, 0, "send app=NAME"},
		"too long":       {"/resume", "app=" + strings.Repeat("a", 2000), 400, 0, "send app=NAME"},
		"in the URL":     {"/resume?app=default", "", 400, 0, "send app=NAME"},
	} {
		if w := get(p, exchange("limit4-1")); w.Code != 400 && w.Code != 429 {
			t.Fatalf("got %d %s, want 400 or 429, for a rate limit", w.Code, w.Body)
		}
		if s := status(t, h); len(s.Pauses) != 1 || s.Pauses[0].App != "default" || s.Pauses[0].Code != 4 || !s.Pauses[0].Until.After(s.Pauses[0].Since) {
			t.Fatalf("got the pauses %+v, want one of the app default with the code 4, which ends after it began", s.Pauses)
		}
		before := log.Len()
		var response admin.ResumeResponse
		w := send(h, byOperator(httptest.NewRequest(http.MethodPost, c.target, strings.NewReader(c.body))))
		decode(t, w, &response)
		if w.Code != c.status || len(response.Resumed) != c.resumed || !strings.HasPrefix(response.Problem, c.problem) || (response.Problem == "") != (c.problem == "") {
			t.Errorf("%s: got %d %+v, want status %d, %d ended pauses and the problem %q", name, w.Code, response, c.status, c.resumed, c.problem)
		}
		if s := status(t, h); len(s.Pauses) != 1-c.resumed {
			t.Errorf("%s: afterwards the status has the pauses %+v, want %d", name, s.Pauses, 1-c.resumed)
		}
		if said := strings.Contains(log.String()[before:], `msg="pause ended" app=default since=`); said != (c.resumed == 1) {
			t.Errorf("%s: does the log say that the pause ended? got %v, want %v", name, said, !said)
		}
	}
	if done, failed := operations(t, h, "resume", "done"), operations(t, h, "resume", "failed"); done != "2" || failed != "9" {
		t.Errorf("%s operations were counted as done, want 2; %s were counted as failed, want 9", done, failed)
	}
	if w := send(h, httptest.NewRequest(http.MethodPost, "/resume", nil)); w.Code != http.StatusForbidden || operations(t, h, "resume", "denied") != "1" {
		t.Errorf("a caller without permission: got status %d, want 403; %s operations were counted as denied, want 1", w.Code, operations(t, h, "resume", "denied"))
	}
}
