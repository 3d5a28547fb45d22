package admin

import (
	"fmt"

	"github.com/igproxy/igproxy/proxy/keep"
)

// KeptInWords says what happened to the tokens of an app that igproxy keeps.
func KeptInWords(k keep.Status) string {
	return fmt.Sprintf("in 24 h: %s refreshed, %s refused, %s failed; now: %s ending soon, %s waiting",
		thousands(k.Refreshed), thousands(k.Refused), thousands(k.Failed), thousands(k.Ending), thousands(k.Waiting))
}

// kept returns what the page shows of kept tokens, one row for each app; nil if no tokens are kept.
func (s *Status) kept() (rows []pair) {
	for _, a := range s.Apps {
		if a.Keep != nil {
			rows = append(rows, pair{a.Name, KeptInWords(*a.Keep)})
		}
	}
	return rows
}
