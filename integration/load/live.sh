#!/usr/bin/env bash
# Puts a load on this machine. Starts a stand-in for Instagram, which answers after 50 ms, and a
# sidecar in front of it. Runs wrk and vegeta for LOAD seconds each, and hey once. Prints the
# sidecar's own figures, and stops the sidecar and the stand-in.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
started=()
end() {
  kill "${started[@]}" 2>/dev/null || true
  wait
  rm -rf "$dir"
}
trap end EXIT
trap 'exit 130' INT TERM

igproxy=$dir/igproxy
go -C "$here/../.." build -o "$igproxy" ./cmd/igproxy

# listening waits at most about 10 s for the log line "listening" in the file $1.log, and prints the
# line's attribute $2.
listening() {
  for _ in $(seq 200); do
    if value=$(sed -n "s/.*listening.*\"$2\":\"\([^\"]*\)\".*/\1/p" "$dir/$1.log" | head -n1) && [ -n "$value" ]; then
      echo "$value"
      return
    fi
    sleep 0.05
  done
  cat "$dir/$1.log" >&2
  return 1
}

"$igproxy" mock --listen 127.0.0.1:0 --latency 50ms 2>"$dir/mock.log" &
started+=($!)
upstream=$(listening mock url)

env IGPROXY_UPSTREAM_URL="$upstream" IGPROXY_CLIENT_SECRET=made-up-for-the-load IGPROXY_LISTEN=127.0.0.1:0 IGPROXY_ADMIN_LISTEN=127.0.0.1:0 \
  IGPROXY_LOG_LEVEL=info IGPROXY_LOG_FORMAT=json "$igproxy" serve 2>"$dir/serve.log" &
started+=($!)
export IGPROXY
IGPROXY=$(listening serve url)
admin=$(listening serve admin)

for recipe in "wrk.sh hit" "hey.sh burst" "vegeta.sh miss"; do
  printf '\n== %s\n' "$recipe"
  "$here"/$recipe
done
printf '\n== the figures of the sidecar\n'
curl -sS --noproxy '*' "$admin/metrics" | awk -f "$here/figures.awk"
