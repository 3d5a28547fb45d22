#!/usr/bin/env bash
# wrk: as much as two threads can send over kept connections.
#   wrk.sh hit     one token, which igproxy knows after the first request
#   wrk.sh miss    a new token with every request: each is an exchange
. "$(dirname "$0")/recipe.sh"
case ${1-} in hit | miss) ;; *) usage "hit|miss" ;; esac
exec wrk --latency -t2 -c"$connections" -d"${seconds}s" -s "$here/wrk.lua" "$base" -- "$1" "$run"
