#!/usr/bin/env bash
# Installs what the tests need and the machine lacks, through the system's package manager. Nothing is started.
set -euo pipefail

missing=()
command -v cc >/dev/null || command -v gcc >/dev/null || missing+=("a C compiler")
for binary in redis-server redis-sentinel curl python3 node; do
  command -v "$binary" >/dev/null || missing+=("$binary")
done
[ "${#missing[@]}" -gt 0 ] || exit 0

sudo=""
[ "$(id -u)" -eq 0 ] || sudo="sudo"

printf "installing:"; printf " %s" "${missing[@]}"; echo
if command -v apt-get >/dev/null; then
  # A policy of 101 keeps the package from starting a service: the tests start their own servers, on free ports.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod +x "$policy"
    trap '$sudo rm -f "$policy"' EXIT
  fi
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends redis-server redis-sentinel gcc libc6-dev \
    curl ca-certificates python3-minimal nodejs >/dev/null
elif command -v dnf >/dev/null; then
  $sudo dnf install -y -q redis gcc curl python3 nodejs
elif command -v apk >/dev/null; then
  $sudo apk add --quiet redis build-base curl python3 nodejs
elif command -v brew >/dev/null; then
  brew install --quiet redis python node
else
  echo "no known package manager: install redis-server and redis-sentinel (Redis 7 or later) and try again" >&2
  exit 1
fi
