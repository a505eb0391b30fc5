#!/usr/bin/env bash
# Compares what a command writes with a file, line by line.
#
#   golden.sh FILE STATUS COMMAND...    what mpirun itself writes (between lines of dashes) is left out
#
# GOLDEN=write writes the file instead.
set -uo pipefail
file=$1 status=$2
shift 2
written=$("$@" 2>&1 | sed '/^-----------/,/^-----------/d' | sed "s|$PWD/|<here>/|g"; exit "${PIPESTATUS[0]}")
got=$?
if [ "${GOLDEN:-}" = write ]; then
  printf '%s\n' "$written" > "$file"
fi
if [ "$got" != "$status" ]; then
  echo "exit status $got; expected $status; written:"
  echo "$written"
  exit 1
fi
diff -u "$file" <(printf '%s\n' "$written") || exit 1
echo "as in $file"
