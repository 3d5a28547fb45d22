package proxy

import "slices"

// secrets are an app's client secrets: one, or during a rotation two. The one that worked last is used first; should Instagram refuse it,
// the call is repeated once with the other one. The hold's lock protects them, because they and what Instagram says of them change
// together.
type secrets struct {
	list  []Secret // as configured: the current one, then the previous one
	inUse int      // of the list
}

// names of the two, for the metric and the log.
var secretNames = []string{"current", "previous"}

func (s secrets) index(one Secret) int {
	return slices.IndexFunc(s.list, func(other Secret) bool { return other.Reveal() == one.Reveal() })
}

// knows reports whether an answer got with this secret says something about the app's. Zero is the answer of a step that tells no secret.
func (s secrets) knows(one Secret) bool { return one.IsZero() || s.index(one) >= 0 }

// allRefused reports whether an answer that refuses the secret leaves none to try. One that was got with a secret of before a reload, by a
// call that was under way, says nothing about the new one.
func (s secrets) allRefused(a answer) bool {
	return a.with.IsZero() || !slices.ContainsFunc(s.list, func(one Secret) bool {
		return one.Reveal() != a.with.Reveal() && one.Reveal() != a.without.Reveal()
	})
}

// use makes these the app's secrets. What was said of others is forgotten; the one in use stays in use, unless it was refused.
func (h *hold) use(list []Secret) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if slices.EqualFunc(h.secrets.list, list, func(a, b Secret) bool { return a.Reveal() == b.Reveal() }) {
		return
	}
	next := secrets{list: list}
	if len(h.secrets.list) > 0 && h.refused.IsZero() {
		next.inUse = max(0, next.index(h.secrets.list[h.secrets.inUse]))
	}
	h.secrets = next
	h.forgetSecret()
}

// secret is the one to ask with.
func (h *hold) secret() Secret {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.secrets.list[h.secrets.inUse]
}

// another is the one to ask with when this one was refused, if there is one. It may be new since the call began.
func (h *hold) another(refused Secret) (Secret, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.secrets
	for _, one := range append([]Secret{s.list[s.inUse]}, s.list...) {
		if one.Reveal() != refused.Reveal() {
			return one, true
		}
	}
	return Secret{}, false
}

// settle puts the secret in use that worked where the one in use was refused, and reports which one that is.
func (h *hold) settle(a answer) (which string, changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &h.secrets
	if worked := s.index(a.with); worked >= 0 && worked != s.inUse && a.provesSecret() && s.index(a.without) == s.inUse {
		s.inUse = worked
		return secretNames[worked], true
	}
	return "", false
}

// state is how many secrets there are, and which is in use.
func (h *hold) state() (inUse, of int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.secrets.inUse, len(h.secrets.list)
}
