#include <fabric/checkpoint/io/checksum.h>

#include <algorithm>

#include <libdeflate.h>
#include <zlib.h>

namespace fabric::detail {

std::uint32_t crc32(const void* data, std::size_t count, std::uint32_t before) {
  // libdeflate takes carry-less multiplication where there is one: about ten times zlib's speed.
  return count == 0 ? before : libdeflate_crc32(before, data, count);
}

std::uint32_t crc32_combine(std::uint32_t first, std::uint32_t second, std::int64_t second_count) {
  return static_cast<std::uint32_t>(::crc32_combine(first, second, second_count));
}

std::uint32_t checksum_of_chunks(const std::vector<std::uint32_t>& chunks, std::int64_t size) {
  std::uint32_t all = 0;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    const std::int64_t begin = static_cast<std::int64_t>(i) * kChecksumChunk;
    all =
        i == 0 ? chunks[0] : crc32_combine(all, chunks[i], std::min(kChecksumChunk, size - begin));
  }
  return all;
}

}  // namespace fabric::detail
