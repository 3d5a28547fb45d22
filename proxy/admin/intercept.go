package admin

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Interception describes the listener for clients that cannot change their base URL.
type Interception struct {
	Listen string    `json:"listen"`         // the URL that clients use as HTTPS_PROXY
	Hosts  []string  `json:"hosts"`          // igproxy intercepts connections to these hosts
	Others string    `json:"others"`         // refuse or tunnel: what happens to connections to other hosts
	Ends   time.Time `json:"authority_ends"` // when the certificate of the authority expires
	// Connects has the number of CONNECT requests in the last 15 minutes, by result. Tunnels is the
	// number of open tunnels. The Handler sets these two fields.
	Connects map[string]uint64 `json:"connects"`
	Tunnels  uint64            `json:"tunnels"`
}

// interception returns the state of the interception, or nil if it is off.
func (h *Handler) interception(tunnels uint64, connects map[string]uint64) *Interception {
	if h.intercept == nil {
		return nil
	}
	i := h.intercept()
	i.Tunnels, i.Connects = tunnels, connects
	return &i
}

// ConnectsInWords returns the number of CONNECT requests for each result, as text.
func (i Interception) ConnectsInWords() string {
	if len(i.Connects) == 0 {
		return "none"
	}
	var list []string
	for _, result := range slices.Sorted(maps.Keys(i.Connects)) {
		list = append(list, fmt.Sprintf("%s %s", thousands(i.Connects[result]), result))
	}
	return strings.Join(list, ", ")
}

// OthersInWords returns the number of open tunnels to other hosts, or "refused" if igproxy refuses
// connections to other hosts.
func (i Interception) OthersInWords() string {
	if i.Others == "tunnel" {
		return plural(i.Tunnels, "tunnel") + " open"
	}
	return "refused"
}

// rows returns the rows of the page about the interception. It returns nil if interception is off.
func (i *Interception) rows() []pair {
	if i == nil {
		return nil
	}
	return []pair{{"HTTPS_PROXY of clients", i.Listen}, {"Hosts", strings.Join(i.Hosts, ", ")}, {"Connections in 15 min", i.ConnectsInWords()},
		{"Other hosts", i.OthersInWords()}, {"The authority ends", i.Ends.UTC().Format(time.DateOnly)}}
}
