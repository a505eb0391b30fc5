# GPT-2 in training, bf16-mixed: tokens a second and MFU, ours (eager, captured) against PyTorch's
# shellcheck shell=bash disable=SC2154
# BENCH_GPT2_SIZES names the models, BENCH_GPT2_OPTIONS the rest (see gpt2.cpp), BENCH_GPT2_WAYS what
# PyTorch runs. Without a GPU all of it is tiny, and shows no more than that it runs: MFU is taken of
# the device's measured rate in bf16 products, which a CPU may not have.
need_program bench_gpt2
need_python torch

device=$("$bin/bench_gpt2" device)
if [[ $device == cuda* ]]; then
  sizes=${BENCH_GPT2_SIZES:-124M 350M} options=${BENCH_GPT2_OPTIONS:-batch=16 context=1024}
  ways=${BENCH_GPT2_WAYS:-eager compiled}
else
  sizes=${BENCH_GPT2_SIZES:-tiny} options=${BENCH_GPT2_OPTIONS:-batch=2 context=32 steps=4 rounds=3}
  ways=${BENCH_GPT2_WAYS:-eager}
fi
note "$device, $options"
peak=$("$bin/bench_gpt2" matmul | value_of matmul_tflops)
bar matmul_tflops "$peak"

# mfu TOKENS_PER_SECOND FLOPS_PER_TOKEN
mfu() { awk -v t="$1" -v f="$2" -v p="$peak" 'BEGIN { printf "%.4g\n", t * f / (p * 1e12) }'; }

for size in $sizes; do
  # shellcheck disable=SC2086  # options is a list of words
  ours=$("$bin/bench_gpt2" train size="$size" $options)
  say "$size ours: $(tr '\n' ' ' <<<"$ours")"
  flops=$(value_of flops_per_token <<<"$ours")
  for way in eager captured; do
    rate=$(value_of ${way}_tokens_per_second <<<"$ours")
    bar "${size}_${way}_tokens_per_second" "$rate"
    bar "${size}_${way}_mfu" "$(mfu "$rate" "$flops")"
  done
  for way in $ways; do
    # shellcheck disable=SC2086
    theirs=$("$python" "$peers/gpt2.py" size="$size" $options way="$way") || {
      say "$size PyTorch, $way: failed"
      continue
    }
    say "$size PyTorch, $way: $(tr '\n' ' ' <<<"$theirs")"
    [[ $(value_of parameters <<<"$ours") == "$(value_of parameters <<<"$theirs")" ]] || {
      echo "bench: the models differ" >&2
      exit 1
    }
    theirs_rate=$(value_of "${way}_tokens_per_second" <<<"$theirs")
    bar "${size}_pytorch_${way}_tokens_per_second" "$theirs_rate"
    bar "${size}_pytorch_${way}_mfu" "$(mfu "$theirs_rate" "$flops")"
    bar "${size}_captured_vs_pytorch_$way" "$(ratio "$rate" "$theirs_rate")"
  done
done
