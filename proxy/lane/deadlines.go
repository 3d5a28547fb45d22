package lane

import "time"

// deadlines sets the read and write deadlines of a connection. Setting one costs as much as looking
// up a token, so the deadlines for idling and writing are renewed only when isDue says so.
type deadlines struct {
	of        *conn
	idleSince time.Time // when the last answer was written; zero: no answer yet
	readSet   time.Time // the time from which the read deadline counts
	writeSet  time.Time // the time from which the write deadline counts
	arriving  bool      // the read deadline is for a request's header, not for idling
}

// await sets the read deadline for the rest of a request, or for the next request. On a new
// connection the header timeout begins at once, as in net/http.
func (d *deadlines) await() {
	o := &d.of.lane.options
	switch arriving := d.of.begun != nil || d.idleSince.IsZero(); {
	case arriving && !d.arriving:
		d.arriving = true
		d.setRead(time.Now(), o.HeaderTimeout)
	case !arriving && (d.arriving || isDue(o.IdleTimeout, d.readSet, d.idleSince)):
		d.arriving = false
		d.setRead(d.idleSince, o.IdleTimeout)
	}
}

// setRead sets the read deadline to start plus after. If after is zero, it removes the deadline.
func (d *deadlines) setRead(start time.Time, after time.Duration) {
	var deadline time.Time
	if after > 0 {
		deadline = start.Add(after)
	}
	d.readSet = start
	_ = d.of.SetReadDeadline(deadline)
}

// write sets the write deadline for an answer.
func (d *deadlines) write(now time.Time) {
	if timeout := d.of.lane.options.WriteTimeout; isDue(timeout, d.writeSet, now) {
		d.writeSet = now
		_ = d.of.SetWriteDeadline(now.Add(timeout))
	}
}

// isDue reports whether a deadline that counts from set must be renewed, to count from now. Without
// a renewal it ends early, by less than a second and less than a sixteenth of the timeout.
func isDue(timeout time.Duration, set, now time.Time) bool {
	return timeout > 0 && now.Sub(set) >= min(time.Second, timeout/16)
}
