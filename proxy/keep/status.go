package keep

import (
	"time"

	"github.com/igproxy/igproxy/cache"
)

// maxEnding bounds the number of tokens that are watched until they end. Further tokens are
// refreshed too, but they are not counted if they end without a refresh.
const maxEnding = 10_000

// ending holds the tokens that were used in this process and end soon.
type ending map[cache.ID]endingToken

type endingToken struct {
	app string
	key cache.Key
	end int64 // Unix milliseconds
}

func (e ending) add(app string, k cache.Key, end int64) {
	if _, known := e[k.ID()]; known || len(e) < maxEnding {
		e[k.ID()] = endingToken{app, k, end}
	}
}

func (e ending) remove(id cache.ID) { delete(e, id) }

// take removes and returns tokens that have ended, at most limit of them.
func (e ending) take(now time.Time, limit int) (ended []endingToken) {
	for id, t := range e {
		if len(ended) == limit {
			break
		}
		if t.end <= now.UnixMilli() {
			ended = append(ended, t)
			delete(e, id)
		}
	}
	return ended
}

// history counts the refreshes of the current hour and of the 23 hours before it, by app and hour.
type history map[string]*[24]hour

// hour counts the refreshes of one hour.
type hour struct {
	number int64 // hours since 1970
	counts map[Outcome]int
}

func (h history) add(now time.Time, app string, o Outcome) {
	hours := h[app]
	if hours == nil {
		hours = &[24]hour{}
		h[app] = hours
	}
	number := now.Unix() / 3600
	one := &hours[number%24]
	if one.number != number {
		*one = hour{number, map[Outcome]int{}}
	}
	one.counts[o]++
}

// Status describes the refreshes and the tokens of one app. The last 24 hours are the current hour
// of the clock and the 23 hours before it.
type Status struct {
	Refreshed int `json:"refreshed"` // in the last 24 hours
	Refused   int `json:"refused"`   // in the last 24 hours
	Failed    int `json:"failed"`    // in the last 24 hours
	Ending    int `json:"ending"`    // tokens that were used in this process and end within Settings.RefreshBefore
	Waiting   int `json:"waiting"`   // tokens in the queue
}

// Status returns the Status of an app.
func (k *Keeper) Status(app string) (s Status) {
	now := time.Now().Unix() / 3600
	k.mu.Lock()
	defer k.mu.Unlock()
	if hours := k.history[app]; hours != nil {
		for _, one := range hours {
			if now-one.number < 24 {
				s.Refreshed += one.counts[Refreshed]
				s.Refused += one.counts[Refused]
				s.Failed += one.counts[Failed]
			}
		}
	}
	for _, t := range k.ending {
		if t.app == app {
			s.Ending++
		}
	}
	for _, w := range k.queue.waiting {
		if w.App == app {
			s.Waiting++
		}
	}
	return s
}
