// How the parameters of one flat unit are cut over ranks: what saves, loads and averages numbers
// that are cut likewise (weights, optimizer state) goes by.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include <accelerators/collectives/communicator.h>
#include <strategies/flat/shard_layout.h>
#include <strategies/strategy.h>

namespace fabric {

/// Which elements of a member of a unit lie in a shard, in the order of its memory.
struct MemberPart {
  std::int64_t begin = 0;   ///< of the member's elements
  std::int64_t size = 0;    ///< may be 0
  std::int64_t offset = 0;  ///< in the shard
};
MemberPart part_of_member(const ShardLayout& layout, int rank, std::size_t member);

/// One unit of a sharded model, as this rank sees it.
struct UnitShards {
  std::string name;
  /// The parameters: names, shapes and strides are those of the whole; values may not be here.
  std::vector<NamedTensor> members;
  ShardLayout layout;
  int rank = 0;        ///< among those that share the unit
  int replica = 0;     ///< which of the groups that have the same shards this rank is in
  int replicas = 1;    ///< how many there are
  at::Tensor shard;    ///< this rank's weights, (layout.shard); dtype and device of the shards
  Communicator ranks;  ///< those that share the unit

  /// What of a member lies in this rank's shard.
  MemberPart part(std::size_t member) const { return part_of_member(layout, rank, member); }

  /// Puts the shards of all ranks together: (layout.total), like `own`. Collective, unless one rank
  /// has all.
  /// @param own numbers that are cut like the unit, (layout.shard)
  at::Tensor gather(const at::Tensor& own) const;
};

}  // namespace fabric
