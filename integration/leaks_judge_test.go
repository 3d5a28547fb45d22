package integration

// After a run of TestNoLeaks, judge searches everything that was recorded.

import (
	"fmt"
	"io"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// monitor records every command that Redis receives until end is called.
func (l *leaks) monitor(redis *redistest.Server) (end func()) {
	conn, err := net.Dial("tcp", redis.Addr())
	must(l.t, err)
	_, err = fmt.Fprintf(conn, "AUTH %s\r\nMONITOR\r\n", l.password)
	must(l.t, err)
	done := make(chan struct{})
	var monitored harness.Output
	go func() { // ends with the connection
		defer close(done)
		_, _ = io.Copy(&monitored, conn)
	}()
	eventually(l.t, "Redis reports commands", func() bool { redis.Do("PING"); return strings.Contains(monitored.String(), `"PING"`) })
	return func() {
		_ = conn.Close()
		<-done
		l.record("redis, monitored", monitored.String())
		l.record("redis, monitored", plainBytes(monitored.String())) // the same without escapes
	}
}

// judge searches the text that was recorded at each place for secrets. The parameter signs maps
// each place to a text that must be there; if it is missing, the test recorded nothing, or the
// wrong thing, at that place. To test the search, judge also plants secrets in each recorded text.
func (l *leaks) judge(signs map[string]string) {
	t := l.t
	samples := l.gather()
	all, ours := newSearch(l.hidden), newSearch(l.hidden[:configured])
	for _, place := range slices.Sorted(maps.Keys(l.places)) {
		text, s, samples := l.places[place].String(), all, samples
		if place == gotInPassing { // Meta may get the tokens there, but not the configured secrets
			s, samples = ours, samples[:configured]
		}
		t.Logf("%s: %d bytes", place, len(text))
		for _, found := range s.in(text) {
			t.Errorf("%s: got %s, want no secret", place, found)
		}
		if sign, known := signs[place]; !known || !strings.Contains(text, sign) {
			t.Errorf("%s: listed in signs: got %v, want true; recorded text: want %q in it, got\n%.2000s", place, known, sign, text)
		}
		for _, c := range samples {
			if unseen := s.plant(text, c); len(unseen) > 0 {
				t.Errorf("%s: the search would not find %s in these forms: %v", place, c.name, unseen)
			}
		}
	}
	for place := range signs {
		if l.places[place] == nil {
			t.Errorf("nothing was recorded for %s", place)
		}
	}
}

// gather adds the tokens, codes and proofs to the hidden texts. It returns the configured secrets,
// and one of the added texts of each kind.
func (l *leaks) gather() (samples []hidden) {
	samples = slices.Clone(l.hidden[:configured])
	given := map[string]int{}
	var add func(kind, name, text string, from int)
	add = func(kind, name, text string, from int) {
		h := hidden{name, text, from}
		l.hidden = append(l.hidden, h)
		if _, known := given[kind]; !known {
			given[kind], samples = 0, append(samples, h)
		}
		// A code is exchanged for a short-lived token, the short-lived token for a long-lived
		// one, and the long-lived one is refreshed.
		for _, token := range l.issued(text) {
			given[kind]++
			add("a token issued for "+kind, "a token for "+name, token, len("IGAA"))
		}
	}
	for text, s := range l.shown {
		add(s.kind, s.kind+" "+text[:s.from]+"...", text, s.from)
		if s.kind == provenKind {
			for _, secret := range []string{l.pagesNow, l.pagesBefore} {
				add("a proof", "a proof", mock.Proof(secret, text), 0)
			}
		}
	}
	for _, token := range l.issued(pagesID) {
		add("an app token", "an app token", token, len(pagesID+"|"))
	}
	for kind, least := range leastGiven {
		if given[kind] < least {
			l.t.Errorf("%d tokens were issued for %s, want at least %d", given[kind], kind, least)
		}
	}
	l.t.Logf("tokens issued: %v", given)
	return samples
}

var redisEscape = regexp.MustCompile(`\\(x[0-9a-f]{2}|.)`)

// plainBytes undoes the escapes in Redis's MONITOR output.
func plainBytes(text string) string {
	return redisEscape.ReplaceAllStringFunc(text, func(found string) string {
		if plain, err := strconv.Unquote(`"` + found + `"`); err == nil {
			return plain
		}
		return found
	})
}
