# A routed entry over the plain call (empty method), and DDP with the guard over DDP without it
# shellcheck shell=bash disable=SC2154
need_program bench_entries

calls=$("$bin/bench_entries" call)
say "$(tr '\n' ' ' <<<"$calls")"
bar overhead_ns "$(value_of overhead_ns <<<"$calls")"

# Two ranks of 100 steps each, in turns within one process.
ratios=()
for ((i = 0; i < ${BENCH_RUNS:-5}; ++i)); do
  ratios+=("$(on_ranks 2 "$bin/bench_entries" guard | value_of guard_ratio)")
done
say "guard over no guard: ${ratios[*]}"
bar guard_ratio "$(printf '%s\n' "${ratios[@]}" | median)"
