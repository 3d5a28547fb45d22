#!/usr/bin/env bash
# k6 runs k6.js, and exits with an error if a request fails. Debian has no package for k6, and
# nothing in this repository installs k6.
#   k6.sh hit     one token, which igproxy knows after the first request
#   k6.sh miss    a new token with every request: each is an exchange
#   k6.sh burst   200 callers at once with one new token: one exchange
. "$(dirname "$0")/recipe.sh"
case ${1-} in hit | miss | burst) ;; *) usage "hit|miss|burst" ;; esac
if ! command -v k6 >/dev/null; then
  cat >&2 <<'END'
k6.sh: k6 is not in PATH. To build it into $(go env GOPATH)/bin, run
  go install go.k6.io/k6@latest
For other ways, see https://grafana.com/docs/k6/latest/set-up/install-k6/
END
  exit 127
fi
exec env IGPROXY="$base" LOAD="$seconds" CONNECTIONS="$connections" RUN="$run" MODE="$1" K6_NO_USAGE_REPORT=true k6 run --quiet "$here/k6.js"
