#!/usr/bin/env bash
# vegeta sends at a constant rate, however slow the responses are. vegeta/go.mod pins its version;
# Go builds it when it is first used.
#   vegeta.sh hit    $RATE requests a second (default 2000), all for one token
#   vegeta.sh miss   $RATE requests a second (default 200), each an exchange of a new token
. "$(dirname "$0")/recipe.sh"
vegeta() { go -C "$here/vegeta" tool vegeta "$@"; }
# attack sends $1 requests a second to the targets on standard input. After the last target, attack
# begins again with the first.
attack() { vegeta attack -rate="$1" -duration="${seconds}s" -workers="$connections" | vegeta report; }
case ${1-} in
  hit) url "IGAA-vegeta-$run" | sed 's/^/GET /' | attack "${RATE:-2000}" ;;
  miss) rate=${RATE:-200}; seq -f "GET $(url "IGAA-vegeta-$run")-%.0f" "$((rate * seconds))" | attack "$rate" ;;
  *) usage "hit|miss" ;;
esac
