#include <fabric/checkpoint/io/checksum.h>

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

}  // namespace fabric::detail
