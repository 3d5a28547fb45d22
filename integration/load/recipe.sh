# Every recipe sources this file, which sets what to request, for how long, and from which sidecar.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
recipe=${0##*/}
base=${IGPROXY:-http://127.0.0.1:8080}
seconds=${LOAD:-10}           # how long the load lasts
connections=${CONNECTIONS:-16} # how many are open at once
run=$$                        # part of every token, so that no two runs share a token

case $base in
  http://127.0.0.1:* | http://localhost:* | "http://[::1]:"*) ;;
  *) echo "$recipe: $base is not on this machine; load goes to loopback only" >&2; exit 2 ;;
esac

# url prints the URL that exchanges the token $1.
url() { printf '%s/access_token?grant_type=ig_exchange_token&access_token=%s' "$base" "$1"; }

usage() { echo "usage: $recipe $1" >&2; exit 2; }
