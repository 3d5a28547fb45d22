package cache

import (
	"cmp"
	"errors"
	"strings"
)

// steps are the next steps for an operator, by the kind of fault. ADDRESS stands for the setting
// that has the address. TLS in parentheses stands for what turns TLS on: the setting redis.tls, or
// rediss:// in redis.url.
var steps = map[string]string{
	kindRefused:     "nothing listens at the address of Redis; check ADDRESS, and whether Redis is running",
	kindTimeout:     "Redis does not answer in time; check the network, whether Redis hangs, and whether it requires TLS (TLS) or a client certificate",
	kindBroken:      "the connection ended before Redis answered; check the network, whether Redis was restarted, and whether it requires TLS (TLS) or a client certificate",
	kindPool:        "no connection is free; raise redis.pool_size, or check why Redis is slow",
	kindResolve:     "the name does not resolve; check ADDRESS",
	kindTLS:         "the TLS handshake fails; check redis.ca_file, the host name (redis.tls_server_name), and whether Redis requires a client certificate (tls-auth-clients)",
	kindAuth:        "Redis refuses the user or the password; check redis.username and the password",
	kindPermission:  "the user lacks a permission; run igproxy check --online to see which",
	kindNoScript:    "the user may not run scripts, so several sidecars may ask Meta about the same token; give the user +eval +evalsha",
	kindLoading:     "Redis is loading its data; try again",
	kindReadOnly:    "this Redis is a replica, which refuses igproxy's commands; point ADDRESS at the master, or set redis.mode to sentinel",
	kindOOM:         "the memory of Redis is full; raise maxmemory, or set a maxmemory-policy that evicts keys",
	kindMisconf:     "Redis refuses writes because its last snapshot failed; check its log and its disk, or set stop-writes-on-bgsave-error no",
	kindWrongType:   "another program wrote a key that begins with redis.prefix; check which program, or set another redis.prefix",
	kindBusy:        "another client's script blocks Redis; wait until it ends, or use SCRIPT KILL",
	kindMaxClients:  "Redis accepts no more connections; raise maxclients, or check which clients hold them (CLIENT LIST)",
	kindClusterDown: "the cluster is down; see CLUSTER INFO",
	kindTryAgain:    "this Redis is part of a cluster; set redis.mode to cluster, or wait until its slots have moved",
	kindMoved:       "this Redis is part of a cluster; set redis.mode to cluster, or wait until its slots have moved",
	kindOversize:    "a reply is larger than igproxy allows; check whether this is Redis, and whether another program writes keys that begin with redis.prefix",
	kindOpen:        "Redis failed recently, so igproxy is not using it for now; see the earlier faults in igproxy's log. igproxy keeps checking whether Redis is back",
	kindNoReplicas:  "too few replicas are connected to the master, so it refuses writes; check the replicas, and min-replicas-to-write",
	kindDesync:      "a reply does not belong to its command; check whether ADDRESS is the address of a Redis, and any proxy in front of it",
}

// sentinelSteps are the next steps if no sentinel has returned the address of the master.
var sentinelSteps = map[string]string{
	kindRefused:    "no sentinel listens at redis.addrs; check the addresses, and whether the sentinels are running",
	kindTimeout:    "the sentinels at redis.addrs do not answer in time; check the network, whether they hang, and whether they require TLS (redis.tls) or a client certificate",
	kindBroken:     "the connections ended before the sentinels at redis.addrs answered; check the network, and whether they require TLS (redis.tls) or a client certificate",
	kindResolve:    "the name of a sentinel does not resolve; check redis.addrs",
	kindTLS:        "the TLS handshake with the sentinels fails; check redis.ca_file, the host names in redis.addrs (redis.tls_server_name), and whether the sentinels require a client certificate",
	kindAuth:       "the sentinels refuse the user or the password; check redis.sentinel_username and redis.sentinel_password_file",
	kindPermission: "the sentinels deny their user a command; give redis.sentinel_username +sentinel|get-master-addr-by-name",
	kindNoMaster:   "no sentinel knows this master; check redis.master_name",
	kindOther:      "redis.addrs must be the addresses of sentinels, which usually have port 26379; if they are, see the sentinels' own log",
}

// masterSteps are the next steps in mode sentinel, instead of those in the table steps. After a
// timeout, it is not known whether Redis or a sentinel did not answer.
var masterSteps = map[string]string{
	kindTimeout:  "Redis or the sentinels do not answer in time; check the network, redis.addrs, whether one of them hangs, and whether they require TLS (TLS) or a client certificate",
	kindRefused:  "nothing listens at the master's address that the sentinels report; check whether the master is running, and sentinel announce-ip",
	kindResolve:  "the master's name that the sentinels report does not resolve; check sentinel resolve-hostnames and announce-hostnames",
	kindReadOnly: "the master that the sentinels report is a replica, which refuses writes; wait until the failover ends",
}

// clusterSteps are the next steps in mode cluster, instead of those in the table steps.
var clusterSteps = map[string]string{
	kindTryAgain: "the cluster is moving slots; wait until they have moved",
	kindMoved:    "the nodes of the cluster disagree about the owner of a slot; see CLUSTER NODES, and wait until the slots have moved",
}

// seeLog is the next step for faults of Redis itself for which these tables have no entry.
const seeLog = "see the log of Redis"

// advice returns the next step for an operator. It names the setting that has the address,
// redis.url or redis.addrs, and what turns TLS on for that address. err shows whether the sentinels
// or Redis itself failed; nil means Redis.
func (o *RedisOptions) advice(kind string, err error) string {
	if kind == "" {
		return ""
	}
	var ofSentinels *sentinelError
	text := steps[kind]
	switch {
	case errors.As(err, &ofSentinels):
		text = cmp.Or(sentinelSteps[kind], sentinelSteps[kindOther])
	case o.Mode == ModeSentinel:
		text = cmp.Or(masterSteps[kind], text)
	case o.Mode == ModeCluster && err != nil && strings.Contains(err.Error(), "cluster support disabled"):
		text = "this Redis is not part of a cluster; set redis.mode to single or sentinel"
	case o.Mode == ModeCluster:
		text = cmp.Or(clusterSteps[kind], text)
	}
	address, tls := "redis.url", "rediss://"
	if o.URL == "" {
		address, tls = "redis.addrs", "redis.tls"
	}
	return cmp.Or(strings.NewReplacer("ADDRESS", address, "(TLS)", "("+tls+")").Replace(text), seeLog)
}
