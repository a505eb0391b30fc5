#!/usr/bin/env bash
# The GPT-2 benchmark and its peer, tiny: the same model, and both learn their batches.
#
#   gpt2_peers.sh BENCH_GPT2 PEER.py PYTHON
set -euo pipefail
options=(size=tiny batch=2 context=32 steps=10 rounds=3)
value_of() { awk -v name="$1" '$1 == name { print $2; found = 1; exit } END { exit !found }'; }

# learns OUTPUT FIRST LAST RATE: whether the loss, log(256) at first, has fallen, at some rate.
learns() {
  awk -v first="$(value_of "$2" <<<"$1")" -v last="$(value_of "$3" <<<"$1")" -v rate="$(value_of "$4" <<<"$1")" \
    'BEGIN { exit !(first > 5 && first < 7 && last > 0 && last < first - 0.2 && rate > 0) }' || {
    echo "does not learn:"
    echo "$1"
    exit 1
  }
}

ours=$("$1" train "${options[@]}")
learns "$ours" first_loss last_loss eager_tokens_per_second
learns "$ours" first_loss captured_last_loss captured_tokens_per_second
# 256 letters and 32 positions of 32, two blocks, the last norm; six for each but the positions.
parameters=$((256 * 32 + 32 * 32 + 2 * (12 * 32 * 32 + 13 * 32) + 2 * 32))
[[ $(value_of parameters <<<"$ours") == "$parameters" ]]
[[ $(value_of flops_per_token <<<"$ours") == $((6 * (parameters - 32 * 32) + 12 * 2 * 32 * 32)) ]]
"$1" matmul | value_of matmul_tflops | awk '{ exit !($1 > 0) }'
[[ $("$1" device) == cpu* ]]
if "$1" train size=124G 2>/dev/null; then
  echo "takes any size"
  exit 1
fi

if [[ -n ${3:-} ]]; then
  theirs=$("$3" "$2" "${options[@]}" way=eager)
  learns "$theirs" first_loss last_loss eager_tokens_per_second
  [[ $(value_of parameters <<<"$theirs") == "$parameters" ]]
fi
echo "both learn"
