// The index of a split safetensors checkpoint, as Hugging Face's libraries read it:
//
//     {"metadata":{"fabric.crc32":"8 digits","total_size":1234,"fabric.parts":{file: "8 digits"},
//      "fabric.state":"the structure, see state_json.h"},"weight_map":{tensor: file, …}}
//
// What begins with `fabric.` is in those of ours: the CRC-32 of the index (with zeros in its
// place) and those of the headers of its parts: parts of two checkpoints are never taken for one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fabric::detail {

struct SafetensorsIndex {
  std::vector<std::pair<std::string, std::string>> weight_map;  ///< tensor, file
  std::vector<std::pair<std::string, std::uint32_t>> parts;  ///< file, CRC of its header; of ours
  std::optional<std::string> state_json;                     ///< of ours
  std::int64_t total_size = 0;  ///< bytes of all elements; only written
};

std::string make_safetensors_index(const SafetensorsIndex& index);

/// @param what the error calls the text
/// @throws CheckpointError for a text that is no index, names a file in another folder, or is
///         damaged
SafetensorsIndex parse_safetensors_index(std::string_view text, const std::string& what);

}  // namespace fabric::detail
