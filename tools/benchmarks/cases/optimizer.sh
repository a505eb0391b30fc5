# AdamW's step, one thread: torch::optim::AdamW over FusedAdamW, and Python's fused=True over it
# shellcheck shell=bash disable=SC2154
need_program bench_optimizer
need_python torch

steps=$("$bin/bench_optimizer" step)
say "$(tr '\n' ' ' <<<"$steps")"
for shape in many_small mid few_large; do
  bar "${shape}_vs_libtorch" "$(value_of "${shape}_vs_libtorch" <<<"$steps")"
done

# The whole of backward, step and zero_grad: the least of the three.
cycles=$("$bin/bench_optimizer" cycle)
say "$(tr '\n' ' ' <<<"$cycles")"
bar step_cycle_vs_libtorch "$(awk '{ print $2 }' <<<"$cycles" | sort -g | head -n 1)"

# In turns with Python; the least of the three medians of ratios.
declare -A ratios=()
for ((i = 0; i < ${BENCH_RUNS:-5}; ++i)); do
  ours=$("$bin/bench_optimizer" times)
  theirs=$("$python" "$peers/optimizer.py")
  for shape in many_small mid few_large; do
    ratios[$shape]+="$(ratio "$(value_of "$shape" <<<"$theirs")" "$(value_of "$shape" <<<"$ours")") "
  done
done
least=$(for shape in many_small mid few_large; do tr ' ' '\n' <<<"${ratios[$shape]% }" | median; done |
  sort -g | head -n 1)
for shape in many_small mid few_large; do
  say "$shape over ours: ${ratios[$shape]}"
done
bar vs_python_fused "$least"
