#!/usr/bin/env bash
# Runs examples/resume through, and again with a stop in the middle: the losses after the stop must be
# the same to the last digit, and a third start finds nothing left to do.
#   resumed_run.sh [LAUNCHER...] PROGRAM
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$@" "$folder/through" 200 | tee "$folder/through.txt"
"$@" "$folder/stopped" 90
"$@" "$folder/stopped" 200 | tee "$folder/stopped.txt"
"$@" "$folder/stopped" 200 | tee "$folder/again.txt"

grep -q "^goes on after step 75 from " "$folder/stopped.txt"
grep -q "^goes on after step 200 from " "$folder/again.txt"
! grep -q loss "$folder/again.txt"
diff <(grep loss "$folder/through.txt" | tail -n 5) <(grep loss "$folder/stopped.txt")
[ "$(grep -c loss "$folder/through.txt")" = 9 ]
# The loss has fallen to less than half: it learns.
awk '$3 == "loss" { if (!first) first = $4; last = $4 } END { exit !(last < first / 2) }' "$folder/through.txt"
echo "the same after the stop"
