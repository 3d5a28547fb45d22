#!/usr/bin/env bash
# Fuzzes every target for $1 (30s; or 5000x, a number of inputs), twice as many at a time as there are cores, one worker each: half a core finds
# more in every target than both cores in a third of them.
set -euo pipefail
cd "$(dirname "$0")/.."
export FUZZTIME="${1:-30s}"
cores=$(getconf _NPROCESSORS_ONLN)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export work

# fuzz runs one target and prints one line, or all of it when it failed. When the time is over, Go before 1.27 now and then fails with a bare
# "context deadline exceeded" (go.dev/issue/75804): that is an end like any other, unless an input was found.
fuzz() {
  local package=$1 target=$2 out="$work/$2"
  if go test -run='^$' -fuzz="^$target\$" -fuzztime="$FUZZTIME" -fuzzminimizetime=10x -parallel=1 "$package" >"$out" 2>&1 ||
    { grep -qx ' *context deadline exceeded' "$out" && ! grep -q 'Failing input' "$out"; }; then
    local inputs
    inputs=$(grep -o 'execs: [0-9]*' "$out" | tail -1 || true)
    echo "$target: ${inputs:-the kept inputs} in $FUZZTIME ($package)"
  else
    echo "$target failed ($package):" && cat "$out" && return 1
  fi
}
export -f fuzz

# Compiled one after another, so that the compiler does not eat the time that is for fuzzing.
for package in $(go list ./...); do
  for target in $(go test -list='^Fuzz' "$package" | grep ^Fuzz || true); do
    go test -run='^$' -fuzz="^$target\$" -fuzztime=1x "$package" >/dev/null
    echo "$package $target"
  done
done >"$work/targets"
xargs -P $((2 * cores)) -L 1 bash -c 'fuzz "$@"' fuzz <"$work/targets"
