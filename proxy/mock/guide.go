package mock

import (
	"fmt"
	"strings"
)

const guide = `Meta has no sandbox for tokens. This is one, for Instagram and Threads. Any token
can be exchanged, unless its prefix names a fault (access_token=expired-1) or it
looks like a token of the other API. Refreshing, reading and writing need a token
that begins with IG or EAA, or for Threads with TH.

Meta's endpoints, with or without a leading version (/v23.0):
  GET  /access_token           return a long-lived token for a short-lived one
  GET  /refresh_access_token   return a new token for one that is at least a day old
  POST /oauth/access_token     return a short-lived token for a code, once
  GET  /me, /ID, /me/media     return data page by page; POST and DELETE write

Control endpoints:
  GET  /__stats                return the number of calls, in all and per token
  POST /__reset                set all counters to 0
  POST /__fault?mode=down      set a fault for every token and code; mode= ends it
  POST /__latency?d=200ms      wait before each response
  POST /__code                 issue a code, valid only with the client_id= and redirect_uri= given here
  POST /__secret               accept only the secrets in the body, such as secret=A&secret=B
  POST /__shape?mode=flat      set the form of the response to a code: flat (as seen on the wire) or
                               data (as documented)
  POST /__age?d=25h            make all tokens and codes older
  GET  /__stream?bytes=9000    return a download of any size
  GET  /__faults               return the list of faults below

Faults, for use as the prefix of a token or code, or as mode:
`

// Guide returns the help text of the stand-in: its endpoints and its faults.
func Guide() string {
	var b strings.Builder
	b.WriteString(guide)
	for _, f := range Faults() {
		fmt.Fprintf(&b, "  %-18s%s\n", f.Name+"-", f.Description)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
