// Where parameters lie in a flat storage that is cut into equal shards.
#pragma once

#include <cstdint>
#include <vector>

namespace fabric {

/// A flat storage of `world` shards of equal size:
///
///   | parameter 0 | pad | parameter 1 | pad | … | pad to a multiple of the shards |
///
/// Parameters and shards start at 64-byte boundaries (vector loads and tensor cores want it); a
/// parameter may lie in several shards. All in elements.
struct ShardLayout {
  std::vector<std::int64_t> offsets;  ///< of each parameter
  std::vector<std::int64_t> numels;   ///< of each parameter
  std::int64_t shard = 0;             ///< of one rank
  std::int64_t total = 0;             ///< all shards

  /// A range of elements, relative to the begin of a shard.
  struct Range {
    std::int64_t begin = 0;
    std::int64_t size = 0;
  };
  /// What rank `rank`'s shard holds of elements [begin, end) of the flat storage.
  Range in_shard(int rank, std::int64_t begin, std::int64_t end) const;
  /// The same for parameter `index`.
  Range parameter_in_shard(int rank, std::size_t index) const;
};

/// @param numels elements of each parameter
/// @param item_size bytes of an element
ShardLayout make_shard_layout(const std::vector<std::int64_t>& numels, std::size_t item_size,
                              int world);

}  // namespace fabric
