package config

// validateKeep warns if the successors of refreshed tokens can be lost. It also warns if
// passed-through calls cannot count as use of a token.
func (l *loader) validateKeep() {
	c := &l.config
	if !c.Keep.Enabled {
		return
	}
	warn := func(f fault) { l.warn(l.place("keep.enabled"), "keep.enabled", f) }
	switch {
	case l.bad["redis.mode"]: // reported already
	case c.Redis.Mode == "":
		warn(fault{"set without redis.mode, so the successors of refreshed tokens are lost when igproxy stops", "set redis.mode to single, sentinel or cluster"})
	case !l.isSet("cache.key_file"):
		warn(fault{"set without cache.key_file, so the successors of refreshed tokens are lost when the client secret has changed and the previous one is removed", "set cache.key_file"})
	}
	if !c.Passthrough.Enabled {
		warn(fault{"set although passthrough.enabled is false, so only calls that refresh a token count as using it", "set passthrough.enabled: true"})
	}
}
