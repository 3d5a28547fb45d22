#!/bin/sh
# This program calls Meta's URLs with curl. igproxy intercepts the calls. The environment variable
# VERSION is curl's option --http1.1 or --http2.
set -eu
graph=https://graph.instagram.com

call() { curl -sS --fail-with-body "$VERSION" "$@"; }
member() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

short=$(call https://api.instagram.com/oauth/access_token -d client_id="$CLIENT_ID" -d client_secret=none -d grant_type=authorization_code \
  --data-urlencode redirect_uri="$REDIRECT_URI" -d code="$CODE" | member access_token)
exchange="$graph/access_token?grant_type=ig_exchange_token&client_secret=none&access_token=$short"
files=$(mktemp -d)
trap 'rm -rf "$files"' EXIT
call --parallel "$exchange" -o "$files/1" "$exchange" -o "$files/2"
refreshed=$(call "$graph/refresh_access_token?grant_type=ig_refresh_token&access_token=$REFRESH" | member access_token)
first=$(member access_token <"$files/1")
me=$(call -w 'HTTP/%{http_version}' "$graph/me?fields=id,username&access_token=$first")
printf '{"short":"%s","long":["%s","%s"],"refreshed":"%s","user_id":"%s","protocol":"%s"}\n' \
  "$short" "$first" "$(member access_token <"$files/2")" "$refreshed" "$(echo "$me" | member id)" "${me##*\}}"
