#!/usr/bin/env bash
# two_jobs_test.sh PROGRAM KIND COUNT: two jobs save to one path at the same time. Each save is done or
# refused, and at the end the path has a whole checkpoint.
set -euo pipefail
program=$1 kind=$2 count=$3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$program" contend "$kind" "$folder/checkpoint" "$folder/first" "$count" &
first=$!
"$program" contend "$kind" "$folder/checkpoint" "$folder/second" "$count"
wait "$first"
read -r done_first refused_first < "$folder/first"
read -r done_second refused_second < "$folder/second"
echo "done $done_first and $done_second, refused $refused_first and $refused_second"
[ $((done_first + done_second)) -gt 0 ]
: > "$folder/none"
"$program" check "$folder/checkpoint" "$folder/none" | tee "$folder/found"
grep -q "^saved 0, found [0-9]*$" "$folder/found"
# Nothing under way is left.
[ -z "$(find "$folder" -name '*fabric-tmp*' -o -name '.nonce-*')" ]
