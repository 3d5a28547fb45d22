package mock

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
)

// Facebook's refusals of a missing or wrong appsecret_proof.
var (
	noProof    = graphError{status: 400, Type: "GraphMethodException", Code: 100, Message: "API calls from the server require an appsecret_proof argument"}
	wrongProof = graphError{status: 400, Type: "GraphMethodException", Code: 100, Message: "Invalid appsecret_proof provided in the API argument"}
)

// Proof returns the appsecret_proof of a token: its HMAC-SHA256 with the client secret as the key,
// in hex.
func Proof(secret, token string) string { return hex.EncodeToString(mac256(secret, []byte(token))) }

func mac256(secret string, text []byte) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(text)
	return mac.Sum(nil)
}

// judgeProof checks the appsecret_proof of a read or a write at Facebook. If the app has no secret
// set, any proof of the right length is accepted.
func (x *call) judgeProof() *graphError {
	proof := x.value("appsecret_proof")
	if x.family != facebookFamily || proof == "" && !x.instagram.requiresProof() {
		return nil
	}
	secrets := x.instagram.app(x.family).secrets()
	proves := func(secret string) bool { return hmac.Equal([]byte(proof), []byte(Proof(secret, x.short))) }
	switch {
	case proof == "":
		return &noProof
	case len(secrets) == 0 && len(proof) != hex.EncodedLen(sha256.Size), len(secrets) > 0 && !slices.ContainsFunc(secrets, proves):
		return &wrongProof
	}
	return nil
}

// SetRequireProof changes Options.RequireProof.
func (i *Instagram) SetRequireProof(required bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.proof = required
}

func (i *Instagram) requiresProof() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.proof
}

func (i *Instagram) serveProof(w http.ResponseWriter, r *http.Request) {
	mode := r.FormValue("mode")
	if mode != "required" && mode != "optional" {
		writeMember(w, http.StatusBadRequest, "error", "mode must be required or optional")
		return
	}
	i.SetRequireProof(mode == "required")
	writeMember(w, http.StatusOK, "proof", mode)
}
