#!/usr/bin/env bash
# Runs examples/resume through; again with a stop in the middle; and again killed at any moment, several
# times: the losses must be the same to the last digit. A start after the end finds nothing left to do.
#   resumed_run.sh [LAUNCHER...] PROGRAM
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$@" "$folder/through" 200 | tee "$folder/through.txt"
"$@" "$folder/stopped" 90
"$@" "$folder/stopped" 200 | tee "$folder/stopped.txt"
"$@" "$folder/stopped" 200 | tee "$folder/again.txt"

RANDOM=${SEED:-1}
for kill in 1 2 3 4; do
  setsid "$@" "$folder/killed" 200 > /dev/null 2>&1 &
  session=$!
  sleep "$(awk -v r=$RANDOM 'BEGIN { print 0.3 + 0.9 * r / 32768 }')"
  pkill -KILL -s "$session" || true
  wait "$session" 2> /dev/null || true
  while pgrep -s "$session" > /dev/null; do sleep 0.02; done
  echo "kill $kill left: $(ls "$folder/killed" 2> /dev/null | tr '\n' ' ')"
done
"$@" "$folder/killed" 200 | tee "$folder/killed.txt"

grep -q "^goes on after step 75 from " "$folder/stopped.txt"
grep -q "^goes on after step 200 from " "$folder/again.txt"
if grep -q loss "$folder/again.txt"; then exit 1; fi
diff <(grep loss "$folder/through.txt" | tail -n 5) <(grep loss "$folder/stopped.txt")
[ "$(grep -c loss "$folder/through.txt")" = 9 ]
while read -r line; do grep -qxF "$line" "$folder/through.txt"; done < <(grep loss "$folder/killed.txt")
cmp "$folder/through/model.pt" "$folder/killed/model.pt"
# The loss has fallen to less than half: it learns.
awk '$3 == "loss" { if (!first) first = $4; last = $4 } END { exit !(last < first / 2) }' "$folder/through.txt"
echo "the same after the stop"
