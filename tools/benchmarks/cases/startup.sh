# Process start to the end of the first training step, one process: against Python's Lightning Fabric
# shellcheck shell=bash disable=SC2154
need_program bench_startup
need_python lightning.fabric

runs=${BENCH_RUNS:-7}

# seconds PROGRAM...: from before the start to the time the program prints after its first step.
seconds() {
  local begin end
  begin=$(date +%s.%N)
  end=$("$@" 2>/dev/null | value_of first_step_at)
  awk -v a="$begin" -v b="$end" 'BEGIN { printf "%.3f\n", b - a }'
}

seconds "$bin/bench_startup" >/dev/null  # the first run of each reads its files from the disk
seconds "$python" "$peers/startup.py" >/dev/null
ours=()
theirs=()
for ((i = 0; i < runs; ++i)); do
  ours+=("$(seconds "$bin/bench_startup")")
  theirs+=("$(seconds "$python" "$peers/startup.py")")
done
say "Fabric for C++ ${ours[*]} s; Lightning Fabric ${theirs[*]} s"
bar vs_python_fabric "$(ratio "$(printf '%s\n' "${theirs[@]}" | median)" "$(printf '%s\n' "${ours[@]}" | median)")"
