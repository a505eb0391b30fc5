# DDP step of two CPU ranks: against PyTorch DDP on Gloo, and against two processes running apart
# shellcheck shell=bash disable=SC2154
need_program bench_step
need_python torch

runs=${BENCH_RUNS:-5}

# apart MODEL...: two single-device processes at the same time; prints the mean of their steps.
apart() {
  # Both begin to measure at the same moment, whenever each has finished starting.
  local at=$(($(date +%s) + 5)) first second
  first=$(mktemp)
  "$bin/bench_step" single linear "$@" $at >"$first" &
  local other=$!
  second=$("$bin/bench_step" single linear "$@" $at | value_of step_ms)
  wait $other
  awk -v a="$(value_of step_ms <"$first")" -v b="$second" 'BEGIN { print "step_ms", (a + b) / 2 }'
  rm -f "$first"
}

# Each kind of run in turn, so that a change of the machine's load meets all of them.
compare() {
  local name=$1 efficiency=$2
  shift 2
  local ours=() theirs=() alone=()
  for ((i = 0; i < runs; ++i)); do
    ours+=("$(on_ranks 2 "$bin/bench_step" ddp linear "$@" | value_of step_ms)")
    theirs+=("$(two_peers ddp.py "$@" | value_of step_ms)")
    if [[ $efficiency == yes ]]; then
      alone+=("$(apart "$@" | value_of step_ms)")
    fi
  done
  local our_median their_median
  our_median=$(printf '%s\n' "${ours[@]}" | median)
  their_median=$(printf '%s\n' "${theirs[@]}" | median)
  say "$name: Fabric ${ours[*]} ms; PyTorch DDP ${theirs[*]} ms"
  bar "${name}_vs_pytorch" "$(ratio "$their_median" "$our_median")"
  if [[ $efficiency == yes ]]; then
    say "$name apart: ${alone[*]} ms"
    bar "${name}_efficiency" "$(ratio "$(printf '%s\n' "${alone[@]}" | median)" "$our_median")"
  fi
}

#              layers width batch warm-up steps
compare tiny no     2    64    16     200  2000
compare large yes   8  1024   512       3    15
