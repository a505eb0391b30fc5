#include <strategies/flat/shard_copy.h>

#include <ATen/ATen.h>

namespace fabric {

PendingCollective gather_shards(const Communicator& ranks, const at::Tensor& whole,
                                const at::Tensor& shard) {
  if (whole.scalar_type() == shard.scalar_type() && whole.device() == shard.device()) {
    return ranks.all_gather(whole, shard);
  }
  const at::Tensor own = whole.narrow(0, ranks.rank() * shard.numel(), shard.numel());
  own.copy_(shard, /*non_blocking=*/true);
  return ranks.all_gather(whole, own);
}

void copy_into_shard(const at::Tensor& shard, const ShardLayout& layout, int rank,
                     std::size_t index, const at::Tensor& values, at::IntArrayRef strides) {
  const ShardLayout::Range range = layout.parameter_in_shard(rank, index);
  if (range.size > 0) {
    const at::Tensor ordered = at::empty_strided(values.sizes(), strides, shard.options());
    ordered.copy_(values);
    // A member that begins in an earlier shard continues in this one.
    const std::int64_t skipped = rank * layout.shard + range.begin - layout.offsets[index];
    shard.narrow(0, range.begin, range.size)
        .copy_(at::as_strided(ordered, {range.size}, {1}, skipped));
  }
}

void keep_written(const at::Tensor& shard, const ShardLayout& layout, int rank,
                  const at::Tensor& whole, std::int64_t begin, std::int64_t end) {
  const ShardLayout::Range range = layout.in_shard(rank, begin, end);
  if (range.size == 0) {
    return;
  }
  const at::Tensor kept = shard.narrow(0, range.begin, range.size);
  const at::Tensor written = whole.narrow(0, rank * layout.shard + range.begin, range.size);
  if (kept.scalar_type() == written.scalar_type()) {
    kept.copy_(written);
  } else {
    const at::Tensor values = written.to(kept.options());
    const at::Tensor rounded = kept.to(written.scalar_type()).to(kept.scalar_type());
    kept.copy_(at::where(values == rounded, kept, values));
  }
}

}  // namespace fabric
