#!/usr/bin/env bash
# wrk sends as many requests as two threads can, and reuses connections.
#   wrk.sh hit     one token, which igproxy knows after the first request
#   wrk.sh miss    a new token with every request: each is an exchange
. "$(dirname "$0")/recipe.sh"
case ${1-} in hit | miss) ;; *) usage "hit|miss" ;; esac
exec wrk --latency -t2 -c"$connections" -d"${seconds}s" -s "$here/wrk.lua" "$base" -- "$1" "$run"
