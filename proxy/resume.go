package proxy

import (
	"errors"
	"time"
)

// Pause is a period during which igproxy makes no token calls for an app, because Meta has reported
// a rate limit on the app.
type Pause struct {
	App   string    `json:"app"`
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	Code  int       `json:"code"` // the code of Meta's error
}

// Pauses returns the current pauses, in the order of the apps.
func (p *Proxy) Pauses() (list []Pause) {
	now := time.Now()
	for _, a := range p.current.Load().apps {
		if one, ok := a.state.limit.current(now); ok {
			one.App = a.Label
			list = append(list, one)
		}
	}
	return list
}

// Resume ends the pause of the app with this label, or the pauses of all apps if the label is
// empty. It also forgets what Meta has reported about the rate limits of these apps. It returns the
// pauses that it ended, or an error if no app has the label. It does not affect other sidecars.
func (p *Proxy) Resume(label string) (ended []Pause, err error) {
	apps, now := p.current.Load().apps, time.Now()
	if label != "" {
		one := appNamed(apps, label)
		if one == nil {
			return nil, errNoSuchApp
		}
		apps = []*app{one}
	}
	for _, a := range apps {
		if one, ok := a.state.limit.current(now); ok {
			one.App = a.Label
			ended = append(ended, one)
		}
		a.state.limit.end()
		p.carried.metrics.limits.forget(a.Label)
	}
	return ended, nil
}

// errNoSuchApp is returned by operations on an app that does not exist.
var errNoSuchApp = errors.New("no app has this name")
