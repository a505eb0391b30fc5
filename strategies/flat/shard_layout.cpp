#include <strategies/flat/shard_layout.h>

#include <algorithm>

namespace fabric {
namespace {

constexpr std::int64_t kAlignment = 64;  // bytes

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

ShardLayout::Range ShardLayout::in_shard(int rank, std::int64_t begin, std::int64_t end) const {
  const std::int64_t first = std::clamp(begin - rank * shard, std::int64_t{0}, shard);
  const std::int64_t last = std::clamp(end - rank * shard, std::int64_t{0}, shard);
  return {first, last - first};
}

ShardLayout::Range ShardLayout::parameter_in_shard(int rank, std::size_t index) const {
  return in_shard(rank, offsets[index], offsets[index] + numels[index]);
}

ShardLayout make_shard_layout(const std::vector<std::int64_t>& numels, std::size_t item_size,
                              int world) {
  const std::int64_t step = std::max<std::int64_t>(1, kAlignment / item_size);
  ShardLayout layout;
  layout.numels = numels;
  std::int64_t end = 0;
  for (const std::int64_t numel : numels) {
    layout.offsets.push_back(end);
    end = round_up(end + numel, step);
  }
  layout.shard = round_up((end + world - 1) / world, step);
  layout.total = layout.shard * world;
  return layout;
}

}  // namespace fabric
