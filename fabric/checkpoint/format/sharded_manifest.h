// The manifest of a sharded checkpoint.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <c10/core/ScalarType.h>

#include <fabric/checkpoint/state_value.h>

namespace fabric::detail {

inline constexpr const char* kManifestName = "manifest.pt";

/// A run of a tensor's elements, in the order of its memory.
struct ShardRun {
  std::int64_t shard = 0;  ///< which file it is in
  std::int64_t begin = 0;
  std::int64_t count = 0;
};

struct ShardedTensorEntry {
  std::string name;
  at::ScalarType dtype = at::kFloat;
  std::vector<std::int64_t> sizes;
  std::vector<std::int64_t> strides;
  std::vector<ShardRun> runs;  ///< one behind the other: all elements
};

struct ShardFile {
  std::string name;
  std::int64_t bytes = 0;
  std::uint32_t checksum = 0;  ///< of its directory, which has those of all its records
};

struct ShardedManifest {
  std::string id;  ///< of the save
  std::vector<ShardFile> shards;
  std::vector<ShardedTensorEntry> tensors;
  std::string state_json;  ///< the structure, with tensors by name (state_json.h)
};

/// @throws CheckpointError where runs of a tensor leave gaps or overlap
StateValue manifest_to_state(const ShardedManifest& manifest);
/// @param what texts call it
/// @throws CheckpointError for anything that `manifest_to_state` does not give, an unknown version
ShardedManifest manifest_from_state(const StateValue& state, const std::string& what);

/// The name of a rank's shard.
std::string shard_name(const std::string& id, int rank);
/// Whether a file in the folder is a shard of any save.
bool is_shard_name(const std::string& name);

}  // namespace fabric::detail
