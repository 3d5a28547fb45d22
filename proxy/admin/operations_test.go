package admin_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/proxy/admin"
)

// operations returns the value of igproxy_operations_total for an operation and an outcome.
func operations(t *testing.T, h http.Handler, operation, outcome string) string {
	t.Helper()
	_, rest, ok := strings.Cut(get(h, "/metrics").Body.String(), "igproxy_operations_total{operation=\""+operation+"\",outcome=\""+outcome+"\"} ")
	if !ok {
		return "0"
	}
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

func TestTheLogSaysWhoRanAnOperation(t *testing.T) {
	var log bytes.Buffer
	h := newHandler(t, admin.Options{Proxy: newProxy(t, optionsFor(t, nowhere)), Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Operations: map[string]func() (bool, any){"reload": func() (bool, any) { return false, "broken" }}})
	_, _ = purge(t, h, "/purge", form, "access_token=IGAA-a")
	_ = send(h, byOperator(httptest.NewRequest(http.MethodPost, "/reload", nil)))
	_ = send(h, httptest.NewRequest(http.MethodPost, "/reload", nil)) // from httptest's address
	for _, want := range []string{
		"msg=operation operation=purge outcome=done uid=0\n",
		"msg=operation operation=reload outcome=failed uid=0\n",
		"msg=operation operation=reload outcome=denied address=192.0.2.1:1234\n",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log.String())
		}
	}
	for _, c := range [][2]string{{"purge", "done"}, {"reload", "failed"}, {"reload", "denied"}} {
		if got := operations(t, h, c[0], c[1]); got != "1" {
			t.Errorf("%s with the outcome %s: counted %s times, want 1", c[0], c[1], got)
		}
	}
}

func TestDeniedOperationsDoNotFillTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		h := newHandler(t, admin.Options{Proxy: newProxy(t, optionsFor(t, nowhere)), Logger: slog.New(slog.NewTextHandler(&log, nil))})
		for range 30 {
			_ = send(h, httptest.NewRequest(http.MethodPost, "/purge", nil))
			time.Sleep(100 * time.Millisecond)
		}
		if got := strings.Count(log.String(), "outcome=denied"); got != 3 || operations(t, h, "purge", "denied") != "30" {
			t.Errorf("got %d log lines in 3 s, want 3; the metric counts %s denied operations, want 30", got, operations(t, h, "purge", "denied"))
		}
		if got := strings.Count(log.String(), "not_logged=9"); got != 2 {
			t.Errorf("got %d lines with not_logged=9, want 2:\n%s", got, log.String())
		}
		_, _ = purge(t, h, "/purge", form, "")
		if !strings.Contains(log.String(), "outcome=done") {
			t.Errorf("a purge after the denied operations: the log lacks outcome=done:\n%s", log.String())
		}
	})
}
