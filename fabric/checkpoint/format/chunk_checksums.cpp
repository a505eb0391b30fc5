#include <fabric/checkpoint/format/chunk_checksums.h>

#include <fabric/checkpoint/format/little_endian.h>
#include <fabric/checkpoint/io/checksum.h>

namespace fabric::detail {
namespace {

constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHead = 16;

std::uint64_t chunks_of(std::int64_t size) {
  return static_cast<std::uint64_t>(size / kChecksumChunk + (size % kChecksumChunk != 0 ? 1 : 0));
}

}  // namespace

std::int64_t chunk_checksums_size(const std::vector<Blob>& storages) {
  std::uint64_t size = kHead;
  for (const Blob& storage : storages) {
    size += 4 * chunks_of(storage.size);
  }
  return static_cast<std::int64_t>(size);
}

std::string encode_chunk_checksums(const std::vector<Blob>& storages) {
  std::string record;
  append_little_endian(record, kVersion);
  append_little_endian(record, static_cast<std::uint32_t>(kChecksumChunk));
  append_little_endian(record, static_cast<std::uint64_t>(storages.size()));
  for (const Blob& storage : storages) {
    for (const std::uint32_t checksum : storage.checksums) {
      append_little_endian(record, checksum);
    }
  }
  return record;
}

std::optional<std::vector<std::vector<std::uint32_t>>> decode_chunk_checksums(
    std::string_view record, const std::vector<std::int64_t>& sizes) {
  if (record.size() < kHead || little_endian<std::uint32_t>(record) != kVersion ||
      little_endian<std::uint32_t>(record, 4) != kChecksumChunk ||
      little_endian<std::uint64_t>(record, 8) != sizes.size()) {
    return std::nullopt;
  }
  record.remove_prefix(kHead);
  std::vector<std::vector<std::uint32_t>> checksums(sizes.size());
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const std::uint64_t chunks = chunks_of(sizes[i]);
    if (record.size() / 4 < chunks) {
      return std::nullopt;
    }
    for (std::uint64_t chunk = 0; chunk < chunks; ++chunk) {
      checksums[i].push_back(little_endian<std::uint32_t>(record));
      record.remove_prefix(4);
    }
  }
  return record.empty() ? std::optional(std::move(checksums)) : std::nullopt;
}

}  // namespace fabric::detail
