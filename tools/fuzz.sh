#!/usr/bin/env bash
# Fuzzes every target for $1: a time such as 30s (the default), or a number of inputs such as 5000x.
# For each core, two targets run at the same time, with one worker each. This finds more in the same
# time than fewer targets with more workers.
set -euo pipefail
cd "$(dirname "$0")/.."
export FUZZTIME="${1:-30s}"
cores=$(getconf _NPROCESSORS_ONLN)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export work

# fuzz runs one target. It prints one line, or the whole output after a failure. When the time is up,
# Go before 1.27 sometimes fails with "context deadline exceeded" (go.dev/issue/75804). Such a run
# counts as a failure only if a failing input was found.
fuzz() {
  local package=$1 target=$2 out="$work/$2"
  if go test -run='^$' -fuzz="^$target\$" -fuzztime="$FUZZTIME" -fuzzminimizetime=10x -parallel=1 "$package" >"$out" 2>&1 ||
    { grep -qx ' *context deadline exceeded' "$out" && ! grep -q 'Failing input' "$out"; }; then
    local inputs
    inputs=$(grep -o 'execs: [0-9]*' "$out" | tail -1 || true)
    echo "$target: ${inputs:-only inputs of the corpus} in $FUZZTIME ($package)"
  else
    echo "$target failed ($package):" && cat "$out" && return 1
  fi
}
export -f fuzz

# All targets are compiled first, so that the compiler does not use up the time for fuzzing.
for package in $(go list ./...); do
  for target in $(go test -list='^Fuzz' "$package" | grep ^Fuzz || true); do
    go test -run='^$' -fuzz="^$target\$" -fuzztime=1x "$package" >/dev/null
    echo "$package $target"
  done
done >"$work/targets"
xargs -P $((2 * cores)) -L 1 bash -c 'fuzz "$@"' fuzz <"$work/targets"
