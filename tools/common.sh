# shellcheck shell=bash
# Shared by the commands in this folder: sourced by them, never run alone.

# Every command works from any current directory.
FABRIC_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Wheels and data live outside the repository, so that several checkouts share them. CMake looks in
# the same place (tools/cmake/FindLibTorch.cmake).
FABRIC_DEPS=${FABRIC_DEPS:-${XDG_CACHE_HOME:-$HOME/.cache}/fabric-cpp}
export FABRIC_DEPS

say() { printf '%s\n' "$*"; }

# Ends the command with a text that says what is missing and what to do.
die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# How many compilers fit at once: one for each core, and 2 GB of memory for each (LibTorch's headers).
build_jobs() {
  local cores memory
  cores=$(nproc)
  memory=$(awk '/^MemTotal:/ { print int($2 / 2000000) }' /proc/meminfo)
  if [ "$memory" -lt 1 ]; then memory=1; fi
  if [ "$memory" -lt "$cores" ]; then echo "$memory"; else echo "$cores"; fi
}

# configure_and_build PRESET "CMAKE OPTIONS" TARGET...
configure_and_build() {
  local preset=$1 options=$2
  shift 2
  # shellcheck disable=SC2086  # options is a list of words
  (cd "$FABRIC_ROOT" && cmake --preset "$preset" $options &&
    cmake --build --preset "$preset" --parallel "$(build_jobs)" --target "$@")
}
