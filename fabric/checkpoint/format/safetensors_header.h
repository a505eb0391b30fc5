// The header of a safetensors file: which tensors lie where, and a dictionary of texts.
//
// Layout: 8 bytes with the header's length (little-endian), the header in JSON with spaces behind
// it, the elements of all tensors without a gap. A header of ours begins with a CRC-32 of itself,
// at a fixed place, and leaves room for the checksums of the elements, which are known when they
// are written:
//
//     {"__metadata__":{"fabric.crc32":"8 digits","fabric.checksums":"8 digits for each MiB of each
//     tensor, in the order of the elements","fabric.state":"the structure, see state_json.h",
//     "format":"pt"},"encoder.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},…}
//
// The CRC is of the length and the header, with zeros in its own place.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <c10/core/ScalarType.h>

#include <fabric/checkpoint/io/file.h>

namespace fabric::detail {

/// What the format's own library takes at most, in bytes.
inline constexpr std::int64_t kMostSafetensorsHeader = 100'000'000;

/// One tensor of a file.
struct SafetensorsEntry {
  std::string name;
  c10::ScalarType dtype = c10::ScalarType::Float;
  std::vector<std::int64_t> shape{};
  std::int64_t begin = 0;  ///< of its elements, counted from those of the first tensor
  std::int64_t end = 0;
};

struct SafetensorsHeader {
  using Metadata = std::vector<std::pair<std::string, std::string>>;

  std::vector<SafetensorsEntry> entries;  ///< in the order of their elements
  Metadata metadata;
  std::int64_t data_begin = 0;         ///< of the elements in the file
  std::optional<std::uint32_t> crc32;  ///< of a header of ours, checked
  std::string checksums;               ///< the digits of a header of ours

  const std::string* find_metadata(std::string_view key) const;
};

/// Whether a file begins as one of this format does.
bool is_safetensors(const InputFile& file);

/// Reads and checks the header.
/// @throws CheckpointError for what safetensors.h lists
SafetensorsHeader read_safetensors_header(const InputFile& file);

/// The beginning of a file of ours up to its elements, 64 bytes aligned, with zeros for checksums.
/// @param metadata further texts; keys that are taken are left out
/// @throws CheckpointError for a dtype the format has no name for, and a header beyond its limit
std::string make_safetensors_header(const std::vector<SafetensorsEntry>& entries,
                                    std::string_view state_json,
                                    const SafetensorsHeader::Metadata& metadata);

/// Puts the checksums in and then the CRC, which is returned.
/// @param checksums of all chunks, in the order of the elements
std::uint32_t seal_safetensors_header(std::string& header,
                                      const std::vector<std::uint32_t>& checksums);

/// Whether a header (with its length) has its CRC where ours have it, and the CRC of its content.
bool begins_like_ours(std::string_view header);
std::uint32_t safetensors_header_crc(std::string_view header);

/// Nothing for a name that the format does not have, or LibTorch no dtype for (F4, F6_E2M3,
/// F6_E3M2: less than a byte an element).
std::optional<c10::ScalarType> dtype_of_safetensors(std::string_view name);

/// How texts write a CRC-32: 8 digits.
std::string hex_of(std::uint32_t value);

/// @throws CheckpointError for anything but 8 digits
std::uint32_t crc_of_hex(std::string_view digits, std::string_view what);

}  // namespace fabric::detail
