package lane

import "time"

// purpose is what a connection's read deadline is for.
type purpose int

const (
	_      purpose = iota
	header         // to end a connection on which a request's header does not arrive in time
	look           // to read what work may have left unread on a busy connection
	idle           // to end a connection on which no further request arrives
)

// await sets the read deadline for the rest of a request, or for the next request, and notifies the
// watcher. On a new connection the header timeout begins at once, as in net/http. While only whole
// requests arrive, await and serve set at most two deadlines a second, because setting one costs as
// much as looking up a token.
func (c *conn) await() {
	between := c.begun == nil && !c.idleSince.IsZero()
	if between && c.deadline != look {
		c.setDeadline(look, c.idleSince, time.Second)
	} else if !between && c.deadline != header {
		c.setDeadline(header, time.Now(), c.lane.options.HeaderTimeout)
	}
	if between {
		c.watcher.Idle(c.idleSince)
	} else if c.begun != nil {
		c.watcher.Incomplete()
	}
}

// setDeadline sets the read deadline to start plus after, or removes it if after is zero.
func (c *conn) setDeadline(p purpose, start time.Time, after time.Duration) {
	c.deadline = p
	var at time.Time
	if after > 0 {
		at = start.Add(after)
	}
	_ = c.SetReadDeadline(at)
}
