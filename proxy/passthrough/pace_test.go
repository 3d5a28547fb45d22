package passthrough

import (
	"testing"
	"time"
)

// A sender at the least rate is never cut off, even if it sends a lump every eight seconds.
func TestPaceCutsOffOnlySendersBelowTheLeastRate(t *testing.T) {
	for name, c := range map[string]struct {
		every    time.Duration // the time between two lumps
		bytes    int           // the size of a lump
		from, to time.Duration // when the sender is cut off; zero: never
	}{
		"the least rate":          {time.Second, leastRate, 0, 0},
		"the least rate in lumps": {8 * time.Second, 8 * leastRate, 0, 0},
		"half the least rate":     {time.Second, leastRate / 2, 19 * time.Second, 21 * time.Second},
		"a byte a second":         {time.Second, 1, 10 * time.Second, 11 * time.Second},
		"a lump after an hour":    {time.Hour, 1 << 20, time.Hour, time.Hour},
	} {
		p, ended := newPace(), time.Duration(0)
		for at := c.every; at <= time.Hour && ended == 0; at += c.every {
			if c.every > p.left {
				ended = at
			}
			p.waited(c.every, c.bytes)
		}
		if ended < c.from || ended > c.to {
			t.Errorf("%s: cut off after %s, want %s to %s (0s: never)", name, ended, c.from, c.to)
		}
	}
}
