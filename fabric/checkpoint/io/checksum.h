// CRC-32 as zip files have it (ISO 3309), by the processor's instructions where it has them.
#pragma once

#include <cstdint>
#include <vector>

namespace fabric::detail {

/// Checksums of checkpoints cover this many bytes each.
inline constexpr std::int64_t kChecksumChunk = std::int64_t{1} << 20;

/// The CRC-32 of `count` bytes that follow bytes with checksum `before`.
std::uint32_t crc32(const void* data, std::size_t count, std::uint32_t before = 0);

/// The CRC-32 of two runs of bytes, one behind the other.
std::uint32_t crc32_combine(std::uint32_t first, std::uint32_t second, std::int64_t second_count);

/// The CRC-32 of `size` bytes whose chunks of kChecksumChunk bytes have these checksums.
std::uint32_t checksum_of_chunks(const std::vector<std::uint32_t>& chunks, std::int64_t size);

}  // namespace fabric::detail
