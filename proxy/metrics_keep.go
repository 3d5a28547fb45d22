package proxy

import "github.com/igproxy/igproxy/proxy/keep"

// keepCounts makes Metrics the Observer of a Keeper.
type keepCounts struct{ *Metrics }

func (m keepCounts) Refresh(app string, o keep.Outcome) {
	m.refreshes.WithLabelValues(app, string(o)).Inc()
}

func (m keepCounts) Ended(app string) { m.endings.WithLabelValues(app).Inc() }

// expectKeep exports the Keeper's counters with the value 0; see expect.
func (m *Metrics) expectKeep(apps []*app) {
	for _, a := range apps {
		m.replacements.WithLabelValues(a.Label)
		m.endings.WithLabelValues(a.Label)
		for _, outcome := range keep.Outcomes {
			m.refreshes.WithLabelValues(a.Label, string(outcome))
		}
	}
}

// replaced counts a call that is sent with a successor, or answered with one.
func (m *Metrics) replaced(app string) { m.replacements.WithLabelValues(app).Inc() }
