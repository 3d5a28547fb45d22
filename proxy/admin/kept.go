package admin

import (
	"fmt"

	"github.com/igproxy/igproxy/proxy"
)

// KeptInWords describes the kept tokens of an app. It returns an empty string if igproxy keeps no
// tokens.
func KeptInWords(a proxy.AppStatus) string {
	k := a.Keep
	if k == nil {
		return ""
	}
	return fmt.Sprintf("refreshes in 24 h: %s done, %s refused, %s failed; tokens now: %s ending soon, %s waiting for a refresh",
		thousands(k.Refreshed), thousands(k.Refused), thousands(k.Failed), thousands(k.Ending), thousands(k.Waiting))
}

// kept returns the status page's rows about kept tokens, one for each app. It returns nil if
// igproxy keeps no tokens.
func (s *Status) kept() (rows []pair) {
	for _, a := range s.Apps {
		if text := KeptInWords(a); text != "" {
			rows = append(rows, pair{a.Name, text})
		}
	}
	return rows
}
