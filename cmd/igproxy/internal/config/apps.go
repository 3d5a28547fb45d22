package config

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// appsKey is the key of the list of apps. appKey(i) is the key of app i.
const appsKey = "apps"

func appKey(i int) string { return appsKey + "." + strconv.Itoa(i) }

// appSettings returns the rows of the table of settings for app i.
func appSettings(i int) []setting {
	section := appKey(i) + "."
	return append([]setting{
		{key: section + "name", kind: kindText, check: checkAppName, example: "shop",
			doc: "The name of the app, in the path /apps/NAME/ and in metrics."},
		{key: section + "service", kind: kindWord, words: []string{"instagram", "threads", "facebook"}, example: "threads",
			doc: "The login that the app uses: Instagram Login, Threads or Facebook Login. Apps for Instagram accounts that are connected to a Facebook page use Facebook Login. The default is instagram."},
		{key: section + "hosts", kind: kindList, check: checkHost, example: "[shop.igproxy.internal]",
			doc: "Host names, without a port. A request with one of them in its Host header belongs to this app, unless its path, grant_type or client_id selects another app. Requests may use these names even if allowed_hosts does not list them."},
		{key: section + "appsecret_proof", kind: kindSwitch, example: "true",
			doc: "Whether igproxy adds appsecret_proof to the calls of this app that are passed through; see passthrough.appsecret_proof."},
	}, credentialSettings(section, "shop")...)
}

// allCredentials returns every app's credentials, by the prefix of their keys: "", "threads.",
// "facebook.", "apps.0." and so on.
func (c *Config) allCredentials() map[string]*credentials {
	all := map[string]*credentials{"": &c.credentials, "threads.": &c.Threads.credentials, "facebook.": &c.Facebook.credentials}
	for i := range c.Apps {
		all[appKey(i)+"."] = &c.Apps[i].credentials
	}
	return all
}

// validateApps checks that each app is complete, and that no two have the same name, or the same
// service and ID.
func (l *loader) validateApps() {
	c := &l.config
	anySet := func(keys ...string) bool { return l.place(keys...) != byDefault }
	services := []string{"threads", "facebook"} // each has its own section
	names, ids := map[string]bool{}, map[string]bool{}
	for i, of := range []service{c.Threads, c.Facebook} {
		if s := services[i]; anySet(s+".client_secret", s+".client_secret_file") {
			names[s], ids[s+"/"+of.AppID] = true, true
		}
	}
	l.validateCredentials("", len(c.Apps) == 0 && len(names) == 0)
	for _, s := range services {
		l.validateCredentials(s+".", anySet(s+".app_id", s+".webhook_secret_file", s+".redirect_uris"))
	}
	if names["facebook"] && !l.isSet("facebook.app_id") {
		l.contradiction(fault{"missing: every token call of Facebook Login needs it", "set it to the ID that Meta's dashboard shows"},
			"facebook.app_id", "facebook.client_secret", "facebook.client_secret_file")
	}
	if len(c.Apps) > 0 {
		l.refuse(fault{"set although apps are listed", "move it into an item of apps"},
			"app_id", "client_secret", "client_secret_file", "webhook_secret_file", "redirect_uris")
	}
	for i, a := range c.Apps {
		key := appKey(i)
		if !l.isSet(key) { // the item is not an app
			continue
		}
		l.validateCredentials(key+".", true)
		for _, name := range []string{key + ".name", key + ".app_id"} {
			if !l.isSet(name) {
				l.contradiction(fault{"missing", "set it: every app needs its own"}, name, key)
			}
		}
		if a.Name != "" && names[a.Name] {
			l.contradiction(fault{"another app has the same name", "give each app a different name"}, key+".name")
		}
		if a.Service != "facebook" && slices.Contains(a.RedirectURIs, RedirectNone) {
			l.contradiction(fault{`"none" is not a redirect URI`, "remove it: it is only for apps of Facebook Login"}, key+".redirect_uris")
		}
		id := cmp.Or(a.Service, "instagram") + "/" + a.AppID
		if a.AppID != "" && ids[id] {
			l.contradiction(fault{"another app has the same ID", "give each app the ID that Meta shows for it"}, key+".app_id")
		}
		names[a.Name], ids[id] = true, true
	}
}

// validateCredentials checks that a secret is set if one is needed, that it is not set in two ways,
// and that an ID is set if another setting needs it.
func (l *loader) validateCredentials(section string, needed bool) {
	text, file := section+"client_secret", section+"client_secret_file"
	switch inText, inFile := l.isSet(text), l.isSet(file); {
	case inText && inFile:
		l.contradiction(fault{"set, and " + file + " is set too (" + l.place(file).where + ")", "keep one of the two"}, text)
	case needed && !inText && !inFile:
		fix := "set " + envName(file) + " (or " + file + ") to the path of a file that holds it, or " + envName(text) + " to the secret itself"
		l.contradiction(fault{"no client secret", fix}, text, strings.TrimSuffix(section, "."))
	case !inText && !inFile && (section != "" || len(l.config.Apps) == 0):
		// If apps are listed, validateApps refuses a top-level webhook_secret_file.
		l.refuse(fault{"set without " + file, "set " + file + " too, or move this to the section of its app"}, section+"webhook_secret_file")
	}
	if !l.isSet(section + "app_id") {
		isListed := strings.HasPrefix(section, appsKey) // validateApps reports a missing app_id of such an app
		if (l.isSet(text) || l.isSet(file)) && l.isSet("cache.key_file") && !isListed {
			what := "missing, and cache.key_file is set (" + l.place("cache.key_file").where + "): without IDs, apps with the same key file would get each other's tokens"
			l.contradiction(fault{what, "set it to the ID that Meta's dashboard shows"}, section+"app_id", text, file)
		}
		l.refuse(fault{"set without " + section + "app_id", "set " + section + "app_id too: a code exchange needs it"}, section+"redirect_uris")
	}
}
