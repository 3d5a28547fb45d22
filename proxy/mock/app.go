package mock

import (
	"crypto/sha256"
	"crypto/subtle"
	"slices"
)

// App is an app in Meta's dashboard. An empty field accepts any value except "".
type App struct{ AppID, Secret string }

// app is an App as an Instagram stores it.
type app struct {
	id      string
	secrets func() []string // a function, so that printing an Instagram does not show them
}

// newApp returns an app with these client secrets. Empty ones are ignored.
func newApp(id string, secrets ...string) app {
	kept := slices.DeleteFunc(slices.Clone(secrets), func(s string) bool { return s == "" })
	return app{id, func() []string { return kept }}
}

// accepts reports whether secret is one of the app's client secrets. An app without any accepts
// every value except "".
func (a app) accepts(secret string) bool {
	wanted := a.secrets()
	if len(wanted) == 0 {
		return secret != ""
	}
	got, found := sha256.Sum256([]byte(secret)), 0
	for _, s := range wanted {
		want := sha256.Sum256([]byte(s))
		found |= subtle.ConstantTimeCompare(got[:], want[:])
	}
	return found == 1
}

// has reports whether id is the app's ID. An app without an ID has every ID except "".
func (a app) has(id string) bool { return id != "" && (a.id == "" || id == a.id) }

// SetSecrets sets the client secrets that the Instagram app accepts, as "Reset" does in Meta's
// dashboard. Without arguments, the app accepts any secret except "".
func (i *Instagram) SetSecrets(secrets ...string) { i.setSecrets(instagramFamily, secrets) }

func (i *Instagram) setSecrets(f *family, secrets []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.apps[f] = newApp(i.apps[f].id, secrets...)
}

// app returns the family's app.
func (i *Instagram) app(f *family) app {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.apps[f]
}
