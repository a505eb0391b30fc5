// The record that our files have more than Python's: a CRC-32 of each MiB of each storage, so that
// a part of a storage can be read and checked without the rest.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <fabric/checkpoint/io/blobs.h>

namespace fabric::detail {

inline constexpr std::string_view kChunkChecksumsRecord = ".fabric/checksums";

/// The length of the record for storages of these lengths.
std::int64_t chunk_checksums_size(const std::vector<Blob>& storages);

/// The record: version, bytes a chunk and number of storages (32, 32 and 64 bits), then 32 bits for
/// each chunk of each storage in turn.
std::string encode_chunk_checksums(const std::vector<Blob>& storages);

/// Reads the record back.
/// @param sizes of the storages
/// @returns the checksums of each, or nothing where the record does not fit the sizes
std::optional<std::vector<std::vector<std::uint32_t>>> decode_chunk_checksums(
    std::string_view record, const std::vector<std::int64_t>& sizes);

}  // namespace fabric::detail
