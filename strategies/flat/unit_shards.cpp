#include <strategies/flat/unit_shards.h>

#include <ATen/ATen.h>

#include <accelerators/ordinary_scope.h>
#include <strategies/flat/shard_copy.h>

namespace fabric {

MemberPart part_of_member(const ShardLayout& layout, int rank, std::size_t member) {
  const ShardLayout::Range range = layout.parameter_in_shard(rank, member);
  if (range.size == 0) {
    return {};
  }
  return {rank * layout.shard + range.begin - layout.offsets[member], range.size, range.begin};
}

at::Tensor UnitShards::gather(const at::Tensor& own) const {
  if (layout.shard == layout.total) {
    return own;
  }
  const OrdinaryScope ordinary;
  const at::Tensor whole = at::empty({layout.total}, own.options().pinned_memory(false));
  gather_shards(ranks, whole, own).wait();
  return whole;
}

}  // namespace fabric
