#!/usr/bin/env bash
# Builds the last commit twice, in two folders, and exits with 1 if the binaries differ. The second
# build starts with an empty build cache.
#
#   tools/reproducible.sh [FILE]    copies the binary to FILE if the binaries are the same
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

build() { # FOLDER OUT
  git clone --quiet --no-hardlinks . "$1"
  (cd "$1" && CGO_ENABLED=0 GOFLAGS= go build -tags=urfave_cli_no_docs -trimpath -buildvcs=true -ldflags='-s -w' -o "$2" ./cmd/igproxy)
}
build "$work/one" "$work/first"
GOCACHE="$work/cache" build "$work/another/folder" "$work/second"

first=$(sha256sum <"$work/first") second=$(sha256sum <"$work/second")
if [ "$first" != "$second" ]; then
  echo "two builds of one commit differ: first sha256 ${first%% *}, second sha256 ${second%% *}" >&2
  exit 1
fi
echo "reproducible: sha256 ${first%% *}"
[ $# -eq 0 ] || cp "$work/first" "$1"
