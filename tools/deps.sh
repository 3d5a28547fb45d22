#!/usr/bin/env bash
# Installs what the tests need and the machine lacks, through the system's package manager. Nothing is started.
#   deps.sh         what the tests need
#   deps.sh peers   what make bench-peers needs: igproxy's peers, wrk and Redis
set -euo pipefail
what=${1-tests}
case $what in tests | peers) ;; *) echo "usage: deps.sh [peers]" >&2; exit 2 ;; esac

has() { PATH=$PATH:/usr/sbin:/usr/local/sbin command -v "$1" >/dev/null; }
module() { "$1" -c "import $2" 2>/dev/null; } # the system's python3 need not be the first in PATH

# missing sets names, of what the machine lacks, and debian, of the packages that have it.
missing() {
  names=() debian=()
  need() { names+=("$1"); debian+=("${@:2}"); }
  has cc || has gcc || need "a C compiler" gcc libc6-dev # Varnish needs it, too
  has redis-server || need redis-server redis-server
  if [ "$what" = peers ]; then
    has nginx || need nginx nginx-light
    has varnishd || need Varnish varnish
    has wrk || need wrk wrk
    has taskset || need taskset util-linux
    return
  fi
  has redis-sentinel || need redis-sentinel redis-sentinel
  has nginx || need nginx nginx-light # an edge that ends connections: integration/faults_dead_connections_test.go
  has curl || need curl curl ca-certificates
  has node || need node nodejs
  has npm || need npm npm
  # Clients that others wrote: integration/clients.
  module python3 requests_oauthlib || module /usr/bin/python3 requests_oauthlib || need "Python's requests-oauthlib" python3 python3-requests-oauthlib
  perl -MNet::OAuth2 -e1 2>/dev/null || need "Perl's Net::OAuth2" libnet-oauth2-perl
  ruby -e 'require "oauth2"' 2>/dev/null || need "Ruby's oauth2" ruby ruby-oauth2
  # Load: integration/load.
  has wrk || need wrk wrk
  has hey || need hey hey
  has ab || need ab apache2-utils
  # What systemd thinks of deploy/systemd; nothing of it is started.
  [ "$(uname)" != Linux ] || ! has apt-get || has systemd-analyze || need systemd-analyze systemd
  # The admin listener's page, and the alerts: integration/status_*.
  has chromium || need chromium chromium
  has promtool || need promtool prometheus
}

missing
[ "${#names[@]}" -gt 0 ] || exit 0

sudo=""
[ "$(id -u)" -eq 0 ] || sudo="sudo"

printf "installing:"; printf " %s" "${names[@]}"; echo
if has apt-get; then
  # A policy of 101 keeps the package from starting a service: the tests start their own servers, on free ports.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod +x "$policy"
    trap '$sudo rm -f "$policy"' EXIT
  fi
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${debian[@]}" >/dev/null
elif has dnf && [ "$what" = peers ]; then
  $sudo dnf install -y -q redis gcc nginx varnish wrk util-linux
elif has dnf; then
  $sudo dnf install -y -q redis gcc nginx curl python3-requests-oauthlib nodejs npm perl ruby wrk httpd-tools chromium golang-github-prometheus
elif has apk && [ "$what" = peers ]; then
  $sudo apk add --quiet redis build-base nginx varnish wrk util-linux
elif has apk; then
  $sudo apk add --quiet redis build-base nginx curl python3 nodejs npm perl ruby wrk apache2-utils hey chromium prometheus
elif has brew; then
  brew install --quiet redis nginx python node perl ruby wrk hey chromium prometheus
else
  echo "no known package manager" >&2
fi

missing
if [ "${#names[@]}" -gt 0 ]; then
  printf "still missing; install them by hand and try again:" >&2; printf " %s," "${names[@]}" >&2; echo >&2
  exit 1
fi
