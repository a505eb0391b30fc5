// Moves numbers between shards and whole flat tensors, which may differ in dtype and device.
#pragma once

#include <ATen/core/Tensor.h>

#include <accelerators/collectives/communicator.h>
#include <strategies/flat/shard_layout.h>

namespace fabric {

/// Fills `whole` (ranks.size() × shard.numel()) with the shards of all ranks; a shard of another
/// dtype or device is converted before it is sent. Collective.
[[nodiscard]] PendingCollective gather_shards(const Communicator& ranks, const at::Tensor& whole,
                                              const at::Tensor& shard);

/// Writes what rank `rank`'s shard holds of parameter `index` from `values`, a tensor of its shape.
/// @param strides of the parameter in the flat storage
void copy_into_shard(const at::Tensor& shard, const ShardLayout& layout, int rank,
                     std::size_t index, const at::Tensor& values, at::IntArrayRef strides);

/// Takes elements [begin, end) of `whole`, as far as they belong to rank `rank`, into its shard.
/// Where the shard is more precise, only what differs after rounding is taken: reading and writing
/// back loses nothing.
void keep_written(const at::Tensor& shard, const ShardLayout& layout, int rank,
                  const at::Tensor& whole, std::int64_t begin, std::int64_t end);

}  // namespace fabric
