#!/usr/bin/env bash
# full_disk_test.sh PROGRAM KIND [LAUNCHER...]: saves to a file system of 8 MiB, in a namespace of its own.
set -euo pipefail
program=$1 kind=$2
shift 2

if ! unshare -rm true 2> /dev/null; then
  echo "skipped: this user may not make a mount namespace (unshare -rm)"
  exit 77
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# shellcheck disable=SC2016  # expanded in the namespace
unshare -rm bash -c 'mount -t tmpfs -o size=8m tmpfs "$0" || exit 77; exec "$@"' \
  "$folder" "$@" "$program" fill "$kind" "$folder/checkpoint"
