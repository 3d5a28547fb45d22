package config

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/igproxy/igproxy/proxy"
)

// appsKey is the list; appKey(i) is the section of its i-th item.
const appsKey = "apps"

func appKey(i int) string { return appsKey + "." + strconv.Itoa(i) }

// appSettings returns the rows of the i-th app.
func appSettings(i int) []setting {
	section := appKey(i) + "."
	return append([]setting{
		{key: section + "name", kind: kindText, check: checkAppName, example: "shop",
			doc: "The name of the app, in the path /apps/NAME/ and in metrics."},
		{key: section + "service", kind: kindWord, words: []string{"instagram", "threads"}, example: "threads",
			doc: "The service that the app belongs to. Without it: instagram."},
		{key: section + "hosts", kind: kindList, check: checkHost, example: "[shop.igproxy.internal]",
			doc: "Host names, without port, whose requests belong to this app. Requests may use them, as those in allowed_hosts."},
	}, credentialSettings(section, "shop")...)
}

var appName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)

func checkAppName(text string) *fault {
	if !appName.MatchString(text) {
		return &fault{quote(text) + " is not a name", "write up to 32 small letters, digits, _ and -, beginning with a letter"}
	}
	return nil
}

// validateApps checks what the apps need, and that no two are the same.
func (l *loader) validateApps() {
	c := &l.config
	l.validateSecret("client_secret", "client_secret_file", len(c.Apps) == 0 && !l.isSet("threads.client_secret") && !l.isSet("threads.client_secret_file"))
	l.validateSecret("threads.client_secret", "threads.client_secret_file", l.isSet("threads.app_id") || l.isSet("threads.redirect_uris"))
	l.needsID("redirect_uris", "app_id")
	l.needsID("threads.redirect_uris", "threads.app_id")
	if len(c.Apps) == 0 {
		return
	}
	for _, key := range []string{"app_id", "client_secret", "client_secret_file", "redirect_uris"} {
		if l.isSet(key) {
			l.contradiction(fault{"set, and apps are listed too", "put it below one of the apps"}, key)
		}
	}
	names, ids := map[string]bool{"threads": l.isSet("threads.client_secret") || l.isSet("threads.client_secret_file")}, map[string]bool{}
	for i, a := range c.Apps {
		key := appKey(i)
		if !l.isSet(key) { // it could not be read
			continue
		}
		for name, value := range map[string]string{"name": a.Name, "app_id": a.AppID} {
			if value == "" && !l.bad[key+"."+name] {
				l.contradiction(fault{"this app has none", "write " + name + ": below it; several apps are told apart by it"}, key+"."+name, key)
			}
		}
		if a.Name != "" && names[a.Name] {
			l.contradiction(fault{"the name of another app", "give each app its own"}, key+".name")
		}
		id := cmp.Or(a.Service, "instagram") + "/" + a.AppID
		if a.AppID != "" && ids[id] {
			l.contradiction(fault{"the id of another app", "give each app its own"}, key+".app_id")
		}
		names[a.Name], ids[id] = true, true
		l.validateSecret(key+".client_secret", key+".client_secret_file", true)
	}
}

// needsID: a code is exchanged with the app's id.
func (l *loader) needsID(redirects, id string) {
	if l.isSet(redirects) && !l.isSet(id) {
		l.contradiction(fault{"set without " + id, "set it: a code is exchanged with the app's id"}, redirects)
	}
}

// validateSecret wants a secret from one of the two, if it is needed, and never from both.
func (l *loader) validateSecret(text, file string, needed bool) {
	switch inText, inFile := l.isSet(text), l.isSet(file); {
	case inText && inFile:
		l.contradiction(fault{fmt.Sprintf("set here, and %s is set too (%s)", file, l.place(file)), "keep one of the two"}, text)
	case needed && !inText && !inFile:
		fix := "set " + envName(file) + " (or " + file + ") to a file that holds it, or " + envName(text)
		if strings.HasPrefix(text, appsKey+".") {
			fix = "set client_secret_file below it to a file that holds it"
		}
		l.contradiction(fault{"no client secret", fix}, text)
	}
}

// secretFiles are the files that hold client secrets.
func (l *loader) secretFiles() {
	c := &l.config
	l.clientSecret("client_secret_file", c.ClientSecretFile, &c.ClientSecret, &c.PreviousSecret)
	l.clientSecret("threads.client_secret_file", c.Threads.ClientSecretFile, &c.Threads.ClientSecret, &c.Threads.PreviousSecret)
	for i := range c.Apps {
		a := &c.Apps[i]
		l.clientSecret(appKey(i)+".client_secret_file", a.ClientSecretFile, &a.ClientSecret, &a.PreviousSecret)
	}
}

func (l *loader) clientSecret(key, path string, to, previous *proxy.Secret) {
	l.secretFile(key, path, func(path string) error {
		current, before, err := readClientSecrets(path)
		if err == nil {
			*to, *previous = current, before
		}
		return err
	})
}
