package mock

import (
	"errors"
	"net/http"
	"strconv"
)

// revocations maps subcodes to the refusals of a revoked token.
var revocations = map[int]graphError{
	460: revoked,
	467: {status: 400, Type: "OAuthException", Code: 190, Subcode: 467,
		Message: "Error validating access token: The session is invalid because the user logged out."},
}

// Revoke makes a token invalid from now on. The subcode must be 460, as after a change of the
// password, or 467, as after a logout. Revoke panics on any other subcode.
func (i *Instagram) Revoke(token string, subcode int) {
	if err := i.revoke(token, subcode); err != nil {
		panic("mock: " + err.Error())
	}
}

func (i *Instagram) revoke(token string, subcode int) error {
	if _, known := revocations[subcode]; !known {
		return errors.New("subcode must be 460 or 467")
	}
	i.issued.revoke(token, subcode)
	return nil
}

// serveRevoke accepts the token only in the body, because proxies may log URLs.
func (i *Instagram) serveRevoke(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil || r.URL.RawQuery != "" || r.PostForm.Get("token") == "" {
		writeMember(w, http.StatusBadRequest, "error", "send the token in the body, as a form, such as token=A; add subcode=467 for a logout")
		return
	}
	subcode := 460
	if text := r.PostForm.Get("subcode"); text != "" {
		subcode, _ = strconv.Atoi(text) // revoke refuses 0
	}
	if err := i.revoke(r.PostForm.Get("token"), subcode); err != nil {
		writeMember(w, http.StatusBadRequest, "error", err.Error())
		return
	}
	writeMember(w, http.StatusOK, "revoked", subcode)
}
