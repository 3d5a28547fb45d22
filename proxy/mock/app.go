package mock

import (
	"crypto/sha256"
	"crypto/subtle"
	"slices"
)

// App is an app in Meta's dashboard. An empty field accepts any value except "".
type App struct{ AppID, Secret string }

// app is the stored form of an App.
type app struct {
	id      string
	secrets func() []string // a function, so that printing an Instagram value does not show the secrets
}

// newApp returns an app with these client secrets. It ignores empty secrets.
func newApp(id string, secrets ...string) app {
	kept := slices.DeleteFunc(slices.Clone(secrets), func(s string) bool { return s == "" })
	return app{id, func() []string { return kept }}
}

// accepts reports whether secret is one of the app's client secrets. An app without secrets accepts
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

// has reports whether id is the app's ID. If the app has no ID, has reports true for every value
// except "".
func (a app) has(id string) bool { return id != "" && (a.id == "" || id == a.id) }

// SetSecrets sets the client secrets that the Instagram app accepts, as the button "Reset" in
// Meta's dashboard does. Without arguments, the app accepts any secret except "".
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
