package admin

import (
	"fmt"

	"github.com/igproxy/igproxy/proxy"
)

// KeptInWords says what happened to the tokens of an app that igproxy keeps. It returns nothing if
// igproxy keeps no tokens.
func KeptInWords(a proxy.AppStatus) string {
	k := a.Keep
	if k == nil {
		return ""
	}
	return fmt.Sprintf("in 24 h: %s refreshed, %s refused, %s failed; now: %s ending soon, %s waiting",
		thousands(k.Refreshed), thousands(k.Refused), thousands(k.Failed), thousands(k.Ending), thousands(k.Waiting))
}

// kept returns what the page shows of kept tokens, one row for each app; nil if no tokens are kept.
func (s *Status) kept() (rows []pair) {
	for _, a := range s.Apps {
		if text := KeptInWords(a); text != "" {
			rows = append(rows, pair{a.Name, text})
		}
	}
	return rows
}
