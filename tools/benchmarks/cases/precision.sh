# bf16-mixed through Fabric over hand-written autocast: MLP 64-64-10, batch 32, SGD, one thread
# shellcheck shell=bash disable=SC2154
need_program bench_overhead

timings=$("$bin/bench_overhead" wall bf16-mixed)
say "$(tr '\n' ' ' <<<"$timings")"
bar guard_ratio "$(value_of wall_ratio <<<"$timings")"
