#!/usr/bin/env bash
# ab uses HTTP/1.0. igproxy closes an HTTP/1.0 connection after each response, even with -k. So a
# large part of what ab measures is the cost of opening connections.
#   ab.sh hit      at most 20,000 requests for one token, known after the first request
#   ab.sh burst    200 callers at once with one new token: one exchange
. "$(dirname "$0")/recipe.sh"
case ${1-} in
  hit) exec ab -q -l -t "$seconds" -n 20000 -c "$connections" "$(url "IGAA-ab-$run")" ;;
  burst) exec ab -q -l -n 200 -c 200 "$(url "IGAA-ab-burst-$run")" ;;
  *) usage "hit|burst" ;;
esac
