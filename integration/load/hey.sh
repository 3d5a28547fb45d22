#!/usr/bin/env bash
# hey reuses connections, and prints a histogram of latencies.
#   hey.sh hit     one token, which igproxy knows after the first request
#   hey.sh burst   200 callers at once with one new token: one exchange
. "$(dirname "$0")/recipe.sh"
case ${1-} in
  hit) exec hey -z "${seconds}s" -c "$connections" "$(url "IGAA-hey-$run")" ;;
  burst) exec hey -n 200 -c 200 "$(url "IGAA-hey-burst-$run")" ;;
  *) usage "hit|burst" ;;
esac
