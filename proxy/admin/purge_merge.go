package admin

import (
	"sync"
	"time"
)

// mergeWindow is the time within which purges of the same app, or of all apps, are merged into one.
const mergeWindow = 10 * time.Second

// merger merges the purges of an app, and separately the purges of all apps. Purges of one token
// are not merged. The first purge takes effect at once. Later purges within mergeWindow are merged
// into one, which takes effect when the window ends. So a loop of purges cannot turn most hits into
// exchanges. No purge is lost, because close performs the pending purges.
type merger struct {
	purge func(app string) // performs a purge; an empty name means all apps

	mu      sync.Mutex         // protects the fields below
	windows map[string]*window // by app; the empty name means all apps
	closed  bool               // purges are no longer merged
	running sync.WaitGroup     // the running calls of purge
}

// window is the time after a purge in which further purges are merged.
type window struct {
	ends  time.Time
	asked bool // another purge is pending; it runs when the window ends
	timer *time.Timer
}

// join merges a purge into the current window of the app, and returns the time until the merged
// purge takes effect. If the app has no current window, join begins one and returns 0: the caller
// must purge now. After close, join always returns 0.
func (m *merger) join(app string) (in time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return 0
	}
	if w := m.windows[app]; w != nil {
		w.asked = true
		return max(time.Until(w.ends), 1) // not 0, even if the timer is late
	}
	w := &window{ends: time.Now().Add(mergeWindow)}
	w.timer = time.AfterFunc(mergeWindow, func() { m.end(app) })
	m.windows[app] = w
	return 0
}

// forget ends the window of an app that turned out not to exist.
func (m *merger) forget(app string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.windows[app]; w != nil {
		w.timer.Stop()
		delete(m.windows, app)
	}
}

// end ends a window. If a purge was requested during the window, end begins the next window and
// performs the purge.
func (m *merger) end(app string) {
	m.mu.Lock()
	w := m.windows[app]
	if m.closed || w == nil {
		m.mu.Unlock()
		return
	}
	if !w.asked {
		delete(m.windows, app)
		m.mu.Unlock()
		return
	}
	w.asked, w.ends = false, time.Now().Add(mergeWindow)
	w.timer.Reset(mergeWindow)
	m.running.Add(1)
	m.mu.Unlock()
	defer m.running.Done()
	m.purge(app)
}

// close waits for the running purges, and then performs the pending ones.
func (m *merger) close() {
	m.mu.Lock()
	m.closed = true
	var waiting []string
	for app, w := range m.windows {
		if w.timer.Stop(); w.asked {
			waiting = append(waiting, app)
		}
	}
	m.windows = nil
	m.mu.Unlock()
	m.running.Wait()
	for _, app := range waiting {
		m.purge(app)
	}
}
