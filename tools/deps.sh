#!/usr/bin/env bash
# Installs missing programs with the system's package manager. It starts none of them.
#   deps.sh         for make test: a C compiler, Redis, nginx and OpenSSL
#   deps.sh all     also for make test-all: client programs and libraries, load tools, a browser,
#                   promtool and systemd-analyze
#   deps.sh peers   for make bench-peers: a C compiler, nginx, Varnish, wrk, taskset and Redis
set -euo pipefail
what=${1-test}
case $what in test | all | peers) ;; *) echo "usage: deps.sh [test|all|peers]" >&2; exit 2 ;; esac

has() { PATH=$PATH:/usr/sbin:/usr/local/sbin command -v "$1" >/dev/null; }
module() { "$1" -c "import $2" 2>/dev/null; } # also called with /usr/bin/python3, which may not be the first python3 in PATH

# missing puts the missing programs into the array names, and the Debian packages that have them
# into the array debian.
missing() {
  names=() debian=()
  need() { names+=("$1"); debian+=("${@:2}"); }
  has cc || has gcc || need "a C compiler" gcc libc6-dev # for the race detector; in bench-peers for Varnish and the epoll loop
  has redis-server || need redis-server redis-server
  has nginx || need nginx nginx-light
  if [ "$what" = peers ]; then
    has varnishd || need Varnish varnish
    has wrk || need wrk wrk
    has taskset || need taskset util-linux
    return
  fi
  has redis-sentinel || need redis-sentinel redis-sentinel
  has openssl || need openssl openssl
  [ "$what" = all ] || return 0

  # integration/clients
  has curl || need curl curl ca-certificates
  has node || need node nodejs
  has npm || need npm npm
  module python3 requests_oauthlib || module /usr/bin/python3 requests_oauthlib || need "Python's requests-oauthlib" python3 python3-requests-oauthlib
  module python3 social_core || module /usr/bin/python3 social_core || need "Python's social-auth-core" python3 python3-social-auth-core
  perl -MNet::OAuth2 -e1 2>/dev/null || need "Perl's Net::OAuth2" libnet-oauth2-perl
  perl -MNet::Facebook::Oauth2 -e1 2>/dev/null || need "Perl's Net::Facebook::Oauth2" libnet-facebook-oauth2-perl
  module python3 httpx || module /usr/bin/python3 httpx || need "Python's httpx" python3-httpx
  module python3 h2 || module /usr/bin/python3 h2 || need "Python's h2" python3-h2
  perl -MLWP::Protocol::https -e1 2>/dev/null || need "Perl's LWP::Protocol::https" liblwp-protocol-https-perl
  php -r 'exit(extension_loaded("curl") ? 0 : 1);' 2>/dev/null || need "PHP with curl" php-cli php-curl
  ruby -e 'require "oauth2"' 2>/dev/null || need "Ruby's oauth2" ruby ruby-oauth2
  ruby -e 'require "omniauth-oauth2"' 2>/dev/null || need "Ruby's omniauth-oauth2" ruby ruby-omniauth-oauth2
  # integration/load
  has wrk || need wrk wrk
  has hey || need hey hey
  has ab || need ab apache2-utils
  # integration/deploy
  [ "$(uname)" != Linux ] || ! has apt-get || has systemd-analyze || need systemd-analyze systemd
  has promtool || need promtool prometheus
  # integration/browser
  has chromium || need chromium chromium
}

missing
[ "${#names[@]}" -gt 0 ] || exit 0

# install is the command that installs the packages. refresh is the command that must run first, or
# is empty.
refresh=()
if has apt-get; then
  refresh=(apt-get update -qq)
  install=(apt-get install -y -qq --no-install-recommends "${debian[@]}")
elif has dnf; then
  case $what in
    test) install=(dnf install -y -q gcc redis nginx openssl) ;;
    all) install=(dnf install -y -q gcc redis nginx curl openssl python3-requests-oauthlib python3-httpx python3-h2 nodejs npm perl perl-LWP-Protocol-https php-cli ruby wrk httpd-tools chromium golang-github-prometheus) ;;
    peers) install=(dnf install -y -q gcc redis nginx varnish wrk util-linux) ;;
  esac
elif has apk; then
  case $what in
    test) install=(apk add --quiet build-base redis nginx openssl) ;;
    all) install=(apk add --quiet build-base redis nginx curl openssl python3 nodejs npm perl perl-lwp-protocol-https php php-curl ruby wrk apache2-utils hey chromium prometheus) ;;
    peers) install=(apk add --quiet build-base redis nginx varnish wrk util-linux) ;;
  esac
elif has brew; then
  case $what in
    test) install=(brew install --quiet redis nginx) ;;
    *) install=(brew install --quiet redis nginx python node perl ruby wrk hey chromium prometheus varnish) ;;
  esac
else
  printf "no known package manager; install these manually:" >&2; printf " %s," "${names[@]}" >&2; echo >&2
  exit 1
fi

sudo=""
if [ "$(id -u)" -ne 0 ] && [ "${install[0]}" != brew ]; then
  if ! has sudo || ! { [ -t 0 ] || sudo -n true 2>/dev/null; }; then # sudo can ask for a password only at a terminal
    printf "missing:" >&2; printf " %s," "${names[@]}" >&2; echo " but this user is not root and cannot use sudo. Ask an administrator to run:" >&2
    [ "${#refresh[@]}" -eq 0 ] || printf '  %s && %s\n' "${refresh[*]}" "${install[*]}" >&2
    [ "${#refresh[@]}" -gt 0 ] || printf '  %s\n' "${install[*]}" >&2
    exit 1
  fi
  sudo="sudo"
fi

printf "installing:"; printf " %s," "${names[@]}"; echo
if has apt-get; then
  # Exit code 101 of policy-rc.d prevents packages from starting services. The tests start their own
  # servers on free ports.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    trap '$sudo rm -f "$policy"' EXIT
    $sudo chmod +x "$policy"
  fi
fi
[ "${#refresh[@]}" -eq 0 ] || $sudo "${refresh[@]}"
$sudo env DEBIAN_FRONTEND=noninteractive "${install[@]}" >/dev/null

missing
if [ "${#names[@]}" -gt 0 ]; then
  printf "still missing; install them manually and try again:" >&2; printf " %s," "${names[@]}" >&2; echo >&2
  exit 1
fi
