#!/usr/bin/env bash
# Runs a binary under strace. The binary starts, serves exchanges, a hit, a refusal and a scrape of
# its metrics, and drains. The script fails if the binary makes a system call that SystemCallFilter=
# in igproxy.service does not allow; in the service, such a call fails with EPERM.
#
#   tools/ship-syscalls.sh BINARY
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
started=()
end() { [ ${#started[@]} -eq 0 ] || kill "${started[@]}" 2>/dev/null || true; wait; rm -rf "$work"; }
trap end EXIT

calls() { # prints a system call, or all system calls of a @group, including those of the groups in it
  case $1 in
  @*) for c in $(systemd-analyze syscall-filter "$1" | sed 1d | grep -v '#' || true); do calls "$c"; done ;;
  *) echo "$1" ;;
  esac
}
while read -r line; do
  case $line in
  "~"*) for g in ${line#\~}; do calls "$g"; done >>"$work/denied" ;;
  *) for g in $line; do calls "$g"; done >>"$work/named" ;;
  esac
done < <(sed -n 's/^SystemCallFilter=//p' deploy/systemd/igproxy.service)
comm -23 <(sort -u "$work/named") <(sort -u "$work/denied") >"$work/allowed"
[ "$(wc -l <"$work/allowed")" -gt 200 ] || { echo "igproxy.service allows $(wc -l <"$work/allowed") system calls according to systemd-analyze, want more than 200" >&2; exit 1; }

mock=$((20000 + RANDOM % 10000)) app=$((30000 + RANDOM % 2000)) admin=$((32000 + RANDOM % 700))
secret=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
"$1" mock --listen "127.0.0.1:$mock" --secret "$secret" >"$work/mock.log" 2>&1 & started+=($!)
IGPROXY_CLIENT_SECRET=$secret IGPROXY_LISTEN=127.0.0.1:$app IGPROXY_ADMIN_LISTEN=127.0.0.1:$admin IGPROXY_UPSTREAM_URL=http://127.0.0.1:$mock \
  strace -D -f -qq -o "$work/trace" "$1" serve 2>"$work/log" & igproxy=$! # -D: $! is igproxy itself, and strace is its grandchild
started+=("$igproxy")
for try in $(seq 200); do
  curl -sf "http://127.0.0.1:$admin/readyz" >/dev/null && break
  [ "$try" -lt 200 ] || { cat "$work/log" >&2; exit 1; }
  sleep 0.1
done
for token in IGAA1 IGAA1 IGAA2 expired-1; do
  curl -s "http://127.0.0.1:$app/access_token?grant_type=ig_exchange_token&access_token=$token" >>"$work/answers"
done
[ "$(grep -o '"access_token"' "$work/answers" | wc -l)" -eq 3 ] || { echo "want 3 access tokens in these responses:" >&2; cat "$work/answers" >&2; exit 1; }
curl -sf "http://127.0.0.1:$admin/metrics" >/dev/null
kill "$igproxy"; wait "$igproxy"

sed -E 's/^[0-9]+ +//; /^[a-z_0-9]+\(/!d; s/\(.*//' "$work/trace" | sort -u >"$work/made"
denied=$(comm -13 "$work/allowed" "$work/made" | tr '\n' ' ')
if [ -n "$denied" ]; then
  echo "igproxy made system calls that igproxy.service does not allow: $denied" >&2
  exit 1
fi
echo "$(wc -l <"$work/made") different system calls, all allowed by igproxy.service"
