package cache

// name returns the name of a key in Redis:
//
//	PREFIX:{ID}:v   the sealed value of an entry or a record
//	PREFIX:{ID}:l   the lease on the entry's token: the owner's random name
//	PREFIX:{ID}:f   the sealed failure of the lease's last owner
//	PREFIX:{ID}:p   the sorted set of an app's purges
//	PREFIX:{ID}:i   the index: the sealed name of the entry that contains a long-lived token
//
// PREFIX is RedisOptions.Prefix, and ID is Key.ID in hex. A name that ends with :i has only the
// first half of the ID. The braces are a hash tag: in a cluster, the value, lease and failure of an
// entry are in the same slot.
func (t *redisTier) name(id, kind string) string { return t.options.Prefix + ":{" + id + "}:" + kind }

func (t *redisTier) keys(k Key) (value, lease, failure string) {
	id := k.id.String()
	return t.name(id, "v"), t.name(id, "l"), t.name(id, "f")
}

func (t *redisTier) indexKey(k Key) string {
	id := k.id.String()
	return t.name(id[:len(id)/2], "i")
}

func (t *redisTier) marksKey(p *Purges) string { return t.name(p.key.id.String(), "p") }
