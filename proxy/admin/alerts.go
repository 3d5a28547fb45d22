package admin

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Alert is an alert of deploy/prometheus/alerts.yml whose condition is true for this sidecar now.
// Prometheus fires most alerts only after the condition has been true for some minutes.
type Alert struct {
	Name     string `json:"name"`
	Severity string `json:"severity"` // page: act at once; ticket: act during working hours
	Text     string `json:"text"`
	Runbook  string `json:"runbook"` // the URL of the alert's section in docs/operations.md
}

// runbookURL is the URL of the runbook without the anchor, which is the alert's name in lower case.
const runbookURL = "https://github.com/igproxy/igproxy/blob/main/docs/operations.md#"

// The severities.
const (
	page   = "page"
	ticket = "ticket"
)

// condition is the expression of an alert in alerts.yml, applied to this sidecar. A test compares
// the severity, the window and the limit. IgproxyDown has no condition here, because a process that
// is down cannot report it.
type condition struct {
	alert    string
	severity string
	window   time.Duration // 0: the condition is about the current state
	limit    float64       // a share, seconds or a count; the condition is true above the limit
	// problems returns a text for each alert, such as one for each app with the problem, and nil if
	// the condition is false. The parameter grown has the counts of the window only.
	problems func(c condition, s *Status, grown sample) []string
}

var conditions = []condition{
	{alert: "IgproxyNotReady", severity: page, problems: notReady},
	{alert: "IgproxyClientSecretRefused", severity: page, problems: secretsRefused},
	{alert: "IgproxyRequestsFail", severity: page, window: 5 * time.Minute, limit: .05, problems: requestsFail},
	{alert: "IgproxyInternalError", severity: ticket, window: 15 * time.Minute, problems: func(_ condition, _ *Status, grown sample) []string {
		return countOf(grown.outcomes[slices.Index(outcomes[:], "failed")], 0, "Requests of the last 15 minutes that got 500 because of a bug in igproxy: %d.")
	}},
	{alert: "IgproxyBreakerOpen", severity: ticket, problems: breakersOpen},
	{alert: "IgproxyInstagramSlow", severity: ticket, window: 10 * time.Minute, limit: 5, problems: func(c condition, _ *Status, grown sample) []string {
		return sentenceIf(grown.calls.exceeds(.99, c.limit), "Meta is slow: more than 1% of the calls to Meta in the last 10 minutes took more than 5 s. Passed-through calls are not counted.")
	}},
	{alert: "IgproxyHitsSlow", severity: ticket, window: 10 * time.Minute, limit: .05, problems: func(c condition, _ *Status, grown sample) []string {
		return sentenceIf(grown.memory.exceeds(.99, c.limit), "Hits are slow: of the answers from memory in the last 10 minutes, more than 1% took more than 50 ms.")
	}},
	{alert: "IgproxyRedisAway", severity: ticket, window: 10 * time.Minute, problems: redisAway},
	{alert: "IgproxyUnsealed", severity: ticket, window: 10 * time.Minute, limit: 5, problems: func(c condition, _ *Status, grown sample) []string {
		return countOf(grown.unsealed, c.limit, "%d values from Redis could not be decrypted in the last 10 minutes.")
	}},
	{alert: "IgproxyRateLimitNear", severity: ticket, limit: .8, problems: rateLimitsNear},
	{alert: "IgproxyRateLimited", severity: page, window: 10 * time.Minute, problems: rateLimited},
	{alert: "IgproxyNoStanding", severity: ticket, window: 30 * time.Minute, limit: 10, problems: noStanding},
	{alert: "IgproxyTokensEnded", severity: ticket, window: time.Hour, problems: tokensEnded},
	{alert: "IgproxyPeersRefused", severity: ticket, window: 15 * time.Minute, problems: func(_ condition, _ *Status, grown sample) []string {
		return countOf(grown.peersRefused, 0, "Connections to the Unix socket that were refused in the last 15 minutes, because the user is not in auth.uids: %d.")
	}},
	{alert: "IgproxyLogDropped", severity: ticket, window: 15 * time.Minute, problems: func(_ condition, _ *Status, grown sample) []string {
		return countOf(grown.linesDropped, 0, "Log lines that were dropped in the last 15 minutes because standard error did not accept them in time: %d.")
	}},
	{alert: "IgproxyReloadRefused", severity: ticket, problems: func(_ condition, s *Status, _ sample) []string {
		return sentenceIf(s.ReloadRefused, "The changed configuration was refused, and the previous one stays in use. The log says why, and so does the command igproxy reload.")
	}},
}

// alertsOf returns the alerts whose condition is true. Alerts of severity page come first. The last
// element of samples is the current sample.
func alertsOf(s *Status, samples []sample) []Alert {
	list := []Alert{}
	now := samples[len(samples)-1]
	for _, c := range conditions {
		from := slices.IndexFunc(samples, func(one sample) bool { return now.at.Sub(one.at) <= c.window })
		for _, text := range c.problems(c, s, now.since(samples[from])) {
			list = append(list, Alert{c.alert, c.severity, text, runbookURL + strings.ToLower(c.alert)})
		}
	}
	slices.SortStableFunc(list, func(a, b Alert) int { return strings.Compare(a.Severity, b.Severity) })
	return list
}

// sentenceIf returns the sentence if the condition is true.
func sentenceIf(condition bool, sentence string) []string {
	if !condition {
		return nil
	}
	return []string{sentence}
}

// countOf returns a sentence with the count if the count is above the limit.
func countOf(n uint64, limit float64, format string) []string {
	return sentenceIf(float64(n) > limit, fmt.Sprintf(format, n))
}

func notReady(_ condition, s *Status, _ sample) []string {
	switch {
	case s.State.Ready:
		return nil
	case s.State.Draining:
		return []string{"The sidecar is stopping, and drains its connections."}
	}
	return []string{"The sidecar is not ready: /readyz answers 503."}
}

func secretsRefused(_ condition, s *Status, _ sample) (list []string) {
	for _, a := range s.Apps {
		if a.ClientSecret == "refused" {
			list = append(list, fmt.Sprintf("Meta refuses the client secret of app %s. Only known tokens are served. "+
				"Compare the app's ID and secret with those in Meta's dashboard: Instagram and Threads have their own, and those under "+
				"App settings > Basic are for Facebook Login.", a.Name))
		}
	}
	return list
}

func requestsFail(c condition, _ *Status, grown sample) []string {
	failed, all := 0.0, 0.0
	for i, n := range grown.outcomes {
		switch outcomes[i] {
		case "gone", "rejected", "verified", "unverified":
			continue
		case "unavailable", "timeout", "failed":
			failed += float64(n)
		}
		all += float64(n)
	}
	return sentenceIf(all > 0 && failed/all > c.limit, fmt.Sprintf("%.0f%% of the requests of the last 5 minutes failed. Rejected requests, disconnected callers and signature checks are not counted.", 100*failed/max(1, all)))
}

func breakersOpen(_ condition, s *Status, _ sample) (list []string) {
	for _, u := range s.Upstreams {
		if u.Breaker == "closed" {
			continue
		}
		state := "is " + string(u.Breaker)
		for _, o := range s.Outages {
			if o.Of == u.Name && o.End.IsZero() {
				state = fmt.Sprintf("opened at %s (now %s, %s so far)", s.Clock(o.Start), u.Breaker, plural(o.Probes, "probe"))
			}
		}
		list = append(list, fmt.Sprintf("A breaker for %s %s, because calls failed. The only token calls that it allows are probes, which test whether Meta works again. Known tokens are served.",
			UpstreamName(u.Name), state))
	}
	return list
}

func redisAway(_ condition, s *Status, grown sample) []string {
	return sentenceIf(s.State.Redis == "degraded" && len(grown.faults) > 0,
		fmt.Sprintf("Redis has not been used since %s, because it fails (%s). Cached answers come from memory, and each sidecar calls Meta itself.",
			s.Clock(s.State.RedisSince), cmp.Or(faultWords[s.State.RedisFault], s.State.RedisFault)))
}

func rateLimitsNear(c condition, s *Status, _ sample) (list []string) {
	for _, l := range s.Limits {
		kind, worst := highest(l)
		if worst <= 100*c.limit {
			continue
		}
		text := fmt.Sprintf("App %s has used %.0f%% of a rate limit (%s).", l.App, worst, kind)
		if l.Regain > 0 {
			text += fmt.Sprintf(" Meta blocks the app for another %.0f min.", l.Regain)
		}
		list = append(list, text)
	}
	return list
}

func rateLimited(_ condition, s *Status, grown sample) (list []string) {
	for _, app := range sortedKeys(grown.limited) {
		text := fmt.Sprintf("In the last 10 minutes, Meta refused calls of app %s because of a rate limit.", app)
		for _, a := range s.Apps {
			if a.Name == app && a.Hold != nil {
				text += " Known tokens are served; calls with other tokens get 429, at least until " + s.Clock(a.Hold.Until) + "."
			}
		}
		list = append(list, text)
	}
	return list
}

func noStanding(c condition, _ *Status, grown sample) (list []string) {
	for _, app := range sortedKeys(grown.standing) {
		list = append(list, countOf(grown.standing[app], c.limit, "App "+strings.ReplaceAll(app, "%", "%%")+
			" has no access to some accounts: Meta answered %d calls of the last 30 minutes with code 100.")...)
	}
	return list
}

func tokensEnded(_ condition, _ *Status, grown sample) (list []string) {
	for _, app := range sortedKeys(grown.ended) {
		list = append(list, fmt.Sprintf("%s of app %s ended in the last hour without a refresh, although in use. The users have to log in again.",
			plural(grown.ended[app], "token"), app))
	}
	return list
}
