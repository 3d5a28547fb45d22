package admin_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/proxy"
	"github.com/igproxy/igproxy/proxy/admin"
)

// newLogged returns a Handler for two apps, and its log.
func newLogged(t *testing.T) (*admin.Handler, *bytes.Buffer) {
	t.Helper()
	o := optionsFor(t, nowhere)
	o.Apps = []proxy.App{{Label: "one", ID: "1", Secret: proxy.NewSecret(appSecret)}, {Label: "two", ID: "2", Secret: proxy.NewSecret(appSecret)}}
	var log bytes.Buffer
	return newHandler(t, admin.Options{Proxy: newProxy(t, o), Logger: slog.New(slog.NewTextHandler(&log, nil))}), &log
}

func purged(log *bytes.Buffer) int { return strings.Count(log.String(), "msg=purged") }

func TestPurgesOfEverythingRunAtMostOnceInTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, log := newLogged(t)
		start := time.Now()
		for i := range 200 { // 40 s
			status, response := purge(t, h, "/purge", form, "")
			if first := i == 0; first != (status == 200) || first != (response.Purged == "all") || !first && (status != 202 || response.Purged != "later") {
				t.Fatalf("purge %d: got status %d, %+v; want status 200 and Purged \"all\" for purge 0, status 202 and \"later\" for any other", i, status, response)
			}
			if want := 10 - int(time.Since(start).Seconds())%10; i > 0 && response.InSeconds != want {
				t.Errorf("after %s: got InSeconds %d, want %d", time.Since(start), response.InSeconds, want)
			}
			time.Sleep(200 * time.Millisecond)
			synctest.Wait()
		}
		if got := purged(log); got != 5 { // at 0, 10, 20, 30 and 40 s
			t.Errorf("%d purges in 40 s, want 5", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := purged(log); got != 5 {
			t.Errorf("%d purges after another minute, want 5", got)
		}
		if status, _ := purge(t, h, "/purge", form, ""); status != 200 || purged(log) != 6 {
			t.Errorf("after a quiet minute: got status %d, want 200; got %d purges in all, want 6", status, purged(log))
		}
	})
}

func TestPurgesOfTokensAndOtherAppsAreNotMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, log := newLogged(t)
		for _, body := range []string{"app=one", "app=two", "access_token=IGAA-a", "access_token=IGAA-a", "access_token=IGAA-a&app=one"} {
			if status, response := purge(t, h, "/purge", form, body); status != 200 {
				t.Errorf("%s: got %d %+v, want 200", body, status, response)
			}
		}
		if status, _ := purge(t, h, "/purge", form, "app=one"); status != 202 {
			t.Errorf("the same app again: got %d, want 202", status)
		}
		for range 2 {
			if status, response := purge(t, h, "/purge", form, "app=unknown"); status != 422 || response.Problem == "" {
				t.Errorf("an unknown app: got %d %+v, want 422 and a problem", status, response)
			}
		}
		if got := purged(log); got != 5 {
			t.Errorf("%d purges, want 5", got)
		}
	})
}

func TestClosePerformsThePurgesThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, log := newLogged(t)
		for _, body := range []string{"", "", "app=one", "app=one", "app=two"} {
			_, _ = purge(t, h, "/purge", form, body)
		}
		h.Close()
		h.Close()
		if got := purged(log); got != 5 { // app two was purged once, so no purge of it is pending
			t.Errorf("got %d purges, want 5: 3 at once, and 2 at Close", got)
		}
		if status, _ := purge(t, h, "/purge", form, ""); status != 200 || purged(log) != 6 {
			t.Errorf("after Close: got status %d, want 200; got %d purges in all, want 6", status, purged(log))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := purged(log); got != 6 {
			t.Errorf("%d purges after another minute, want 6", got)
		}
	})
}
