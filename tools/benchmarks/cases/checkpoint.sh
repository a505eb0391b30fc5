# Saving and loading: Python's file of 2 GiB against torch.save and torch.load, shards against DCP, saves beside the loop
# shellcheck shell=bash disable=SC2154
need_program bench_checkpoint
need_python torch

rounds=${BENCH_RUNS:-7}
folder=$(mktemp -d "${BENCH_FOLDER:-$root/build}/checkpoint.XXXXXX")
trap 'rm -rf "$folder"' EXIT

# Two programs that wait for commands, so that each round finds the same machine.
coproc OURS { "$bin/bench_checkpoint" serve; }
ours=("${OURS[@]}")
coproc THEIRS { "$python" "$peers/checkpoint.py" 2>/dev/null; } 2>/dev/null
theirs=("${THEIRS[@]}")
answer() { local line; IFS= read -r line <&"$1" || exit 1; echo "$line"; }
[[ $(answer "${ours[0]}") == ready && $(answer "${theirs[0]}") == ready ]]
our() { echo "$*" >&"${ours[1]}"; answer "${ours[0]}"; }
their() { echo "$*" >&"${theirs[1]}"; answer "${theirs[0]}"; }

our save "$folder/load.pt" >/dev/null
their save "$folder/their-load.pt" >/dev/null
declare -A times=()
for ((i = 0; i < rounds; ++i)); do
  # A new file each time: an old one would have its blocks already.
  times[save]+="$(our save "$folder/a$i.pt") "
  times[torch_save]+="$(their save "$folder/b$i.pt") "
  times[torch_save_without_checksums]+="$(their fast "$folder/c$i.pt") "
  rm -f "$folder"/[abc]"$i".pt
  times[load]+="$(our load "$folder/load.pt") "
  times[torch_load]+="$(their load "$folder/their-load.pt") "
  times[torch_load_mmap]+="$(their mmap "$folder/their-load.pt") "
done
extra=$(our peak)
eval "exec ${ours[1]}>&- ${theirs[1]}>&-"
wait
median_of() { tr ' ' '\n' <<<"${times[$1]% }" | median; }
for name in save torch_save torch_save_without_checksums load torch_load torch_load_mmap; do
  say "$name: median $(median_of "$name") ms of ${times[$name]}"
done
bar save_vs_torch_save "$(ratio "$(median_of torch_save)" "$(median_of save)")"
bar save_vs_torch_save_without_checksums "$(ratio "$(median_of torch_save_without_checksums)" "$(median_of save)")"
bar load_vs_torch_load "$(ratio "$(median_of torch_load)" "$(median_of load)")"
bar load_vs_torch_load_mmap "$(ratio "$(median_of torch_load_mmap)" "$(median_of load)")"
bar save_extra_mib "$extra"
rm -f "$folder"/*
bar shard_bytes_ratio "$(on_ranks 4 "$bin/bench_checkpoint" shard "$folder/shard.pt" | value_of shard_bytes_ratio)"
rm -f "$folder"/*

# 1 GiB cut over two ranks, each writing its half.
sharded=() one_file=() dcp=()
for ((i = 0; i < (rounds + 1) / 2; ++i)); do
  sharded+=("$(on_ranks 2 "$bin/bench_checkpoint" parts "$folder/s" sharded | value_of save_ms)")
  one_file+=("$(on_ranks 2 "$bin/bench_checkpoint" parts "$folder/p" python | value_of save_ms)")
  dcp+=("$(two_peers dcp.py "$folder/dcp" | value_of save_ms)")
done
say "two ranks: sharded ${sharded[*]} ms; one file ${one_file[*]} ms; PyTorch DCP ${dcp[*]} ms"
of() { printf '%s\n' "$@" | median; }
bar sharded_vs_one_file "$(ratio "$(of "${one_file[@]}")" "$(of "${sharded[@]}")")"
bar sharded_vs_dcp "$(ratio "$(of "${dcp[@]}")" "$(of "${sharded[@]}")")"

report=$("$bin/bench_checkpoint" beside "$folder" "$rounds")
say "${report//$'\n'/, }"
bar async_block_ratio "$(value_of async_block_ratio <<<"$report")"
bar async_total_ratio "$(value_of async_total_ratio <<<"$report")"
rm -rf "$folder"
