package redistest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// slots is the number of hash slots of a cluster.
const slots = 16384

// Cluster is a Redis Cluster of three masters with one replica each.
type Cluster struct {
	t     testing.TB
	nodes []*Server // masters, then their replicas in the same order
	ids   []string  // the node IDs of nodes, in the same order
}

// StartCluster starts a cluster and stops it at the end of the test.
func StartCluster(t testing.TB, options ...Options) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	var o Options
	if len(options) > 0 {
		o = options[0]
	}
	o.Args = append(slices.Clone(o.Args), "--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0")
	for range 6 {
		o.port = freePort(t, busDistance)
		node := Start(t, o)
		c.nodes = append(c.nodes, node)
		c.ids = append(c.ids, fmt.Sprint(node.Do("CLUSTER", "MYID")))
	}
	for i, node := range c.nodes {
		if i < 3 {
			node.Do("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/3), strconv.Itoa((i+1)*slots/3-1))
		}
		c.nodes[0].Do("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(node.port))
	}
	eventually(t, "all nodes know each other", func() bool { return c.all(func(n *Server) bool { return c.lines(n) == 6 }) })
	for i, node := range c.nodes[3:] {
		node.Do("CLUSTER", "REPLICATE", c.ids[i])
	}
	eventually(t, "the cluster is up, with replicas", func() bool {
		return c.all(func(n *Server) bool {
			info := fmt.Sprint(n.Do("CLUSTER", "INFO"))
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_size:3")
		}) && strings.Count(fmt.Sprint(c.nodes[0].Do("CLUSTER", "NODES")), "slave") == 3 &&
			c.all(func(n *Server) bool {
				return !strings.Contains(fmt.Sprint(n.Do("INFO", "replication")), "master_link_status:down")
			})
	})
	return c
}

// StartClusterNode starts a cluster of one node, which has all slots, and stops it at the end of
// the test.
func StartClusterNode(t testing.TB) *Server {
	t.Helper()
	node := Start(t, Options{Args: []string{"--cluster-enabled", "yes"}, port: freePort(t, busDistance)})
	node.Do("CLUSTER", "ADDSLOTSRANGE", "0", strconv.Itoa(slots-1))
	eventually(t, "the cluster is up", func() bool { return strings.Contains(fmt.Sprint(node.Do("CLUSTER", "INFO")), "cluster_state:ok") })
	return node
}

func (c *Cluster) all(ok func(*Server) bool) bool {
	return !slices.ContainsFunc(c.nodes, func(n *Server) bool { return !n.dead() && !ok(n) })
}

func (c *Cluster) lines(n *Server) int {
	return strings.Count(strings.TrimSpace(fmt.Sprint(n.Do("CLUSTER", "NODES"))), "\n") + 1
}

// Addrs returns the addresses of the nodes, separated by commas.
func (c *Cluster) Addrs() string {
	var ports []int
	for _, n := range c.nodes {
		ports = append(ports, n.port)
	}
	return addrs(ports)
}

// Announce makes each node announce the port of a proxy on 127.0.0.1, so that clients and replicas
// connect to the node through the proxy. The function through returns the port of the proxy for the
// node at addr.
func (c *Cluster) Announce(through func(addr string) (port int)) {
	c.t.Helper()
	var want []string
	for _, n := range c.nodes {
		port := strconv.Itoa(through(n.Addr()))
		n.Do("CONFIG", "SET", "cluster-announce-bus-port", strconv.Itoa(n.port+10000), "cluster-announce-port", port)
		want = append(want, port)
	}
	eventually(c.t, "all nodes know the announced ports", func() bool {
		return c.all(func(n *Server) bool {
			known := fmt.Sprint(n.Do("CLUSTER", "SLOTS"))
			return !slices.ContainsFunc(want, func(port string) bool { return !strings.Contains(known, "127.0.0.1 "+port+" ") })
		})
	})
}

// Do sends one command to every running node.
func (c *Cluster) Do(args ...string) {
	c.t.Helper()
	for _, n := range c.nodes {
		if !n.dead() {
			n.Do(args...)
		}
	}
}

// Keys returns the distinct keys of all running nodes, sorted.
func (c *Cluster) Keys() (keys []string) {
	c.t.Helper()
	for _, n := range c.nodes {
		if !n.dead() {
			keys = append(keys, n.Keys()...)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// KillMaster kills master 0, 1 or 2 and waits until its replica has become a master.
func (c *Cluster) KillMaster(i int) {
	c.t.Helper()
	c.nodes[i].Kill()
	eventually(c.t, "the replica has become a master", func() bool {
		return strings.Contains(fmt.Sprint(c.nodes[3+i].Do("ROLE")), "master") &&
			strings.Contains(fmt.Sprint(c.nodes[3+i].Do("CLUSTER", "INFO")), "cluster_state:ok")
	})
}

// SlotOf returns the hash slot of key.
func (c *Cluster) SlotOf(key string) int {
	c.t.Helper()
	slot, _ := c.nodes[0].Do("CLUSTER", "KEYSLOT", key).(int64)
	return int(slot)
}

// Migrate moves a slot with its keys to the next master, as resharding does. It calls halfway when
// the keys have moved, but the slot still belongs to the old master.
func (c *Cluster) Migrate(slot int, halfway func()) {
	c.t.Helper()
	from := slot * 3 / slots
	for ; from > 0 && slot < from*slots/3; from-- {
	}
	for ; from < 2 && slot >= (from+1)*slots/3; from++ {
	}
	to := (from + 1) % 3
	number := strconv.Itoa(slot)
	c.nodes[to].Do("CLUSTER", "SETSLOT", number, "IMPORTING", c.ids[from])
	c.nodes[from].Do("CLUSTER", "SETSLOT", number, "MIGRATING", c.ids[to])
	keys, _ := c.nodes[from].Do("CLUSTER", "GETKEYSINSLOT", number, "1000").([]any)
	for _, k := range keys {
		c.nodes[from].Do("MIGRATE", "127.0.0.1", strconv.Itoa(c.nodes[to].port), fmt.Sprint(k), "0", "2000")
	}
	halfway()
	for _, i := range []int{to, from, 3 - to - from} {
		c.nodes[i].Do("CLUSTER", "SETSLOT", number, "NODE", c.ids[to])
	}
}
