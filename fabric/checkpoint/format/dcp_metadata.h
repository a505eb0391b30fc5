// What `.metadata` of a distributed checkpoint says: which entries there are, and where they lie.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <c10/core/ScalarType.h>

#include <fabric/checkpoint/format/state_tree.h>

namespace fabric::detail {

struct DcpChunk {
  std::vector<std::int64_t> offsets;
  std::vector<std::int64_t> sizes;
};

/// A tensor, or any other value (of which nothing is known before it is read).
struct DcpEntry {
  std::string name;
  bool is_tensor = false;
  c10::ScalarType dtype = c10::ScalarType::Float;
  std::vector<std::int64_t> sizes{};
  std::vector<DcpChunk> chunks{};
  StatePath path{};  ///< in the state that was saved
};

/// A file of torch.save inside a file of the checkpoint.
struct DcpPlace {
  std::string file;
  std::int64_t offset = 0;
  std::int64_t length = 0;
};

struct DcpMetadata {
  std::vector<DcpEntry> entries;  ///< in the order of the state
  std::map<std::string, std::map<std::vector<std::int64_t>, DcpPlace>> places;

  /// @param offsets of a tensor's chunk; none for another value
  /// @throws CheckpointError where the checkpoint has none
  const DcpPlace& place(const std::string& name, const std::vector<std::int64_t>& offsets) const;
};

/// @param name what texts call the pickle
/// @throws CheckpointError for a pickle of anything else, and for what a newer or an extended
///         PyTorch may have put there (compressed parts, files elsewhere)
DcpMetadata parse_dcp_metadata(std::string_view pickle, const std::string& name);

}  // namespace fabric::detail
