#!/usr/bin/env bash
# count_added_lines.sh RAW PORT LIMIT: fails if `diff -w` adds more than LIMIT non-blank lines.
set -euo pipefail
added=$({ diff -w -u "$1" "$2" || true; } | grep -E '^\+' | grep -vE '^\+\+\+' | grep -cvE '^\+[[:space:]]*$')
echo "$(basename "$2"): $added added lines, at most $3"
[ "$added" -le "$3" ]
