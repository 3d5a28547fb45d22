package mock

import (
	"fmt"
	"strings"
)

const guide = `Meta has no sandbox for tokens. This is one, for Instagram, Threads and Facebook.
Any made-up token can be exchanged, unless its prefix names a fault that refuses it
(access_token=expired-1) or it looks like a token of another API. For a refresh, a read
or a write, the token must begin like a real one: with IG or EAA at Instagram, with TH
at Threads, with EAA at Facebook.

Meta's endpoints, with or without a leading version (/v23.0):
  GET  /access_token           return a long-lived token for a short-lived one
  GET  /refresh_access_token   return a new token for one that is at least a day old
  POST /oauth/access_token     return a short-lived token for a code, once; Threads and
                               Facebook also accept GET
  GET  /oauth/access_token     Facebook: extend a token (grant_type=fb_exchange_token);
                               Facebook and Threads: return an app token
                               (grant_type=client_credentials)
  GET  /debug_token            Threads and Facebook: describe the token in input_token
  GET  /me, /ID, /me/media     return data (lists in pages); POST and DELETE write.
                               Facebook checks appsecret_proof if it is sent

Control endpoints:
  GET  /__stats                return the number of calls, in all and per token, and how many
                               calls asked for a refresh of each token
  POST /__reset                set all counters to 0
  POST /__fault?mode=down      set a fault for every token and code; mode= ends it
  POST /__latency?d=200ms      wait before each response
  POST /__code                 issue a code, valid only with the client_id= and redirect_uri= given here
  POST /__secret               accept only the secrets in the body, such as secret=A&secret=B;
                               app=threads or app=facebook for another app
  POST /__proof?mode=required  refuse Facebook's reads and writes without appsecret_proof;
                               mode=optional turns this off
  POST /__revoke               make the token in the body (token=A) invalid; subcode=467 for a logout
  POST /__webhook?to=URL       deliver a signed webhook to an http URL on this machine
  POST /__signed_request       return a signed_request, as for a deauthorize callback. Here
                               and in /__webhook, app= names the app that signs
  POST /__refresh?mode=same    make a refresh return the token that was sent, with a new life;
                               mode=new (the default) makes it return a new token
  POST /__shape?mode=flat      set the form of the response to a code: flat (as seen on the wire) or
                               data (as documented)
  POST /__age?d=25h            make all tokens and codes older
  GET  /__stream?bytes=9000    return a download of any size
  GET  /__faults               return the list of faults below

Faults, for use as the prefix of a token or code, or as mode of /__fault:
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
