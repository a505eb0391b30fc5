# Sharded step of two CPU ranks: against PyTorch FSDP2 on Gloo, and against Fabric's own DDP
# shellcheck shell=bash disable=SC2154
need_program bench_step
need_python torch

runs=${BENCH_RUNS:-5}

# Each kind of run in turn, so that a change of the machine's load meets all of them.
compare() {
  local name=$1 ddp=$2
  shift 2
  local ours=() theirs=() replicated=() report peak=
  for ((i = 0; i < runs; ++i)); do
    report=$(on_ranks 2 "$bin/bench_step" fsdp "$@")
    ours+=("$(value_of step_ms <<<"$report")")
    peak=$(value_of peak_over_formula <<<"$report")
    theirs+=("$(two_peers fsdp.py "$@" | value_of step_ms)")
    if [[ $ddp == yes ]]; then
      replicated+=("$(on_ranks 2 "$bin/bench_step" ddp "$@" | value_of step_ms)")
    fi
  done
  local our_median
  our_median=$(printf '%s\n' "${ours[@]}" | median)
  say "$name: Fabric ${ours[*]} ms; PyTorch FSDP2 ${theirs[*]} ms; peak over formula $peak"
  bar "${name}_vs_fsdp2" "$(ratio "$(printf '%s\n' "${theirs[@]}" | median)" "$our_median")"
  if [[ $ddp == yes ]]; then
    say "$name under Fabric's DDP: ${replicated[*]} ms"
    bar "${name}_over_ddp" "$(ratio "$our_median" "$(printf '%s\n' "${replicated[@]}" | median)")"
    bar peak_over_formula "$peak"
  fi
}

#             ddp        layers width batch warm-up steps
compare tiny  no  linear 8         64    16      50   500
compare mid   no  linear 8        512    64      10   100
compare large yes linear 8       1024   512       3    15
compare gpt   no  gpt    4        256     4       3    15

# All that sharding costs the host in one step of a world of one (two gathers, a reduction, hooks), for
# each unit: nothing is sent, so the difference to the plain step is that.
sharded=() plain=()
for ((i = 0; i < runs; ++i)); do
  sharded+=("$(on_ranks 1 "$bin/bench_step" fsdp linear 8 64 16 50 1000 | value_of step_ms)")
  plain+=("$(on_ranks 1 "$bin/bench_step" single linear 8 64 16 50 1000 | value_of step_ms)")
done
say "a world of one: sharded ${sharded[*]} ms, plain ${plain[*]} ms"
bar gather_host_us "$(awk -v a="$(printf '%s\n' "${sharded[@]}" | median)" \
  -v b="$(printf '%s\n' "${plain[@]}" | median)" 'BEGIN { printf "%.5g\n", 1000 * (a - b) / 8 }')"
