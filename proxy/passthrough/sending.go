package passthrough

import (
	"crypto/hmac"
	"net/http"
	"strings"
)

// sending sends one call. If it has replaced the token of the call, and Meta refuses the new token,
// it sends the call again with the original token, unless the body of the call was streamed.
type sending struct {
	transport http.RoundTripper
	call      Call
	sides     *sides

	token      string      // the token that is sent; "" if the call has none, or several that differ
	original   credentials // as the app sent them, but with the proof from Call.Proof if that is set
	isReplaced bool        // token is not the token that the app sent
	mayRepeat  bool        // the call can be sent again: isReplaced, and the body is empty or buffered
}

// prepare replaces the token of a call if Call.Replace is set. If Call.Proof is set, it adds the
// proof of the token. If Call.Proof is nil, it replaces the app's proof together with the token.
func (s *sending) prepare(r *http.Request) {
	replace, prove := s.call.Replace, s.call.Proof
	s.original = readCredentials(r, replace != nil || prove != nil)
	if s.token = s.original.token(); s.token == "" || replace == nil && prove == nil {
		return
	}
	own, sentProof := s.token, s.original.proofs()
	reprove := prove == nil && len(sentProof) > 0
	switch {
	case replace == nil:
	case reprove && (len(sentProof) > 1 || !hmac.Equal([]byte(sentProof[0]), []byte(s.call.ProofOf(own)))):
		return // the app's proof does not fit its token, so Meta decides about the unchanged call
	default:
		s.token = replace(own)
	}
	sent := s.original
	if s.isReplaced = s.token != own; s.isReplaced {
		sent = sent.with(s.token)
		if reprove {
			sent = sent.proven(s.call.ProofOf(s.token))
		}
		s.mayRepeat = s.original.isForm || r.ContentLength == 0
		r.Header.Set("Accept-Encoding", readableEncoding(r.Header.Get("Accept-Encoding")))
	}
	if prove != nil {
		sent, s.original = sent.proven(prove(s.token)), s.original.proven(prove(own))
	}
	if s.isReplaced || prove != nil {
		sent.writeTo(r)
	}
}

// readableEncoding returns an Accept-Encoding with which igproxy can read a refusal: gzip if the
// app's Accept-Encoding names gzip, otherwise identity.
func readableEncoding(accepted string) string {
	if strings.Contains(strings.ToLower(accepted), "gzip") {
		return "gzip"
	}
	return "identity"
}

// RoundTrip sends the call once, or twice if Meta refuses the new token (see sending).
func (s *sending) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := s.transport.RoundTrip(r)
	if err != nil || !s.mayRepeat || !isRefusal(res) || r.Method == http.MethodHead {
		return res, err
	}
	body, ok := s.readRefusal(res)
	if !ok || !s.call.IsInvalid(res.StatusCode, body) {
		return res, nil
	}
	_ = res.Body.Close()
	again := r.Clone(r.Context())
	s.original.writeTo(again)
	s.token = s.original.token()
	return s.transport.RoundTrip(again)
}

// readRefusal reads the body of a refusal and returns it decompressed. The whole body of res can be
// read afterwards.
func (s *sending) readRefusal(res *http.Response) (body []byte, ok bool) {
	paced := &pacedResponse{ReadCloser: res.Body, sides: s.sides, pace: newPace()}
	text, whole, err := readAhead(res.Body, paced, maxRefusal+1)
	res.Body = whole
	if err != nil || len(text) > maxRefusal {
		return nil, false
	}
	return inflate(res.Header.Get("Content-Encoding"), text)
}
