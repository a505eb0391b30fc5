# Fabric loop over the raw LibTorch loop: MLP 64-64-10, batch 32, SGD, one process, one thread
# shellcheck shell=bash disable=SC2154
need_program bench_overhead

timings=$("$bin/bench_overhead" wall)
say "$(tr '\n' ' ' <<<"$timings")"
bar wall_ratio "$(value_of wall_ratio <<<"$timings")"

# Instructions do not depend on the machine's load. Two lengths are subtracted: start-up cancels.
instructions() {
  valgrind --tool=cachegrind --cache-sim=no --cachegrind-out-file=/dev/null \
    "$bin/bench_overhead" "$1" "$2" 2>&1 >/dev/null |
    sed -n 's/.*I *refs: *//p' | tr -d ,
}
short_run=100
long_run=600
declare -A counted
for loop in raw fabric; do
  first=$(instructions "$loop" $short_run)
  second=$(instructions "$loop" $long_run)
  counted[$loop]=$(((second - first) / (long_run - short_run)))
  say "$loop: ${counted[$loop]} instructions a step"
done
bar instruction_ratio "$(ratio "${counted[fabric]}" "${counted[raw]}")"
