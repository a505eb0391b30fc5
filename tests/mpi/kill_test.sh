#!/usr/bin/env bash
# kill_test.sh PROGRAM KIND KILLS [LAUNCHER...]: starts a program that saves without end, kills all of it
# at a random moment, and looks at what is left; KILLS times.
set -euo pipefail
program=$1 kind=$2 kills=$3
shift 3

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
path=$folder/checkpoint log=$folder/log
touch "$log"

RANDOM=${SEED:-1}
for ((i = 1; i <= kills; ++i)); do
  setsid "$@" "$program" save "$kind" "$path" "$log" > "$folder/output" 2>&1 &
  session=$!
  # At first until something has been saved, then at any moment of starting, loading and saving.
  if ((i == 1)); then
    for ((wait = 0; wait < 300 && $(wc -l < "$log") < 3; ++wait)); do sleep 0.1; done
  else
    sleep "$(awk -v r=$RANDOM 'BEGIN { print 0.3 + 1.7 * r / 32768 }')"
  fi
  pkill -KILL -s "$session" || true
  wait "$session" 2> /dev/null || true
  while pgrep -s "$session" > /dev/null; do sleep 0.02; done
  if ! "$program" check "$path" "$log" > "$folder/found" 2>&1; then
    echo "kill $i left:"
    cat "$folder/found" "$folder/output"
    ls -la "$path"*
    exit 1
  fi
done
cat "$folder/found"
count=$(wc -l < "$log")
echo "$kills kills, $count saves, each time a whole checkpoint"
[ "$count" -gt 2 ]
