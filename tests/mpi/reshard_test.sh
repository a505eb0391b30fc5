#!/usr/bin/env bash
# reshard_test.sh PROGRAM CONSOLIDATE MPIRUN: one run on 3, 2, 5 and 1 ranks in turn, under another
# strategy each time, then one file of its last checkpoint.
set -euo pipefail
program=$1 consolidate=$2 mpirun=$3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

stage() {
  local ranks=$1 strategy=$2
  FABRIC_STRATEGY=$strategy "$mpirun" --allow-run-as-root --oversubscribe --bind-to none \
    --mca mpi_yield_when_idle 1 -np "$ranks" "$program" "$folder/run" 3 | tee "$folder/output"
  grep -q 'as on one process' "$folder/output"
}
stage 3 "fsdp(units=Linear)"
stage 2 ddp
stage 5 "fsdp(units=Linear,sharding=grad_op)"
stage 4 "fsdp(units=Linear,replicas=2)"
stage 1 single_device
stage 3 "fsdp(sharding=none)"

# Only the shards of the last save are left, one a rank.
[ "$(ls "$folder/run" | wc -l)" = 4 ]
"$consolidate" "$folder/run" "$folder/whole.pt"
"$consolidate" "$folder/run" "$folder/model.safetensors" --keys model
[ -s "$folder/whole.pt" ] && [ -s "$folder/model.safetensors" ]
! "$consolidate" "$folder/run" "$folder/no.pt" --keys nothing 2> "$folder/error"
grep -q "no key 'nothing'" "$folder/error"
