#include <fabric/checkpoint/format/file_bytes.h>

#include <algorithm>
#include <cstring>

namespace fabric::detail {

FileBytes::FileBytes(std::shared_ptr<const InputFile> file, std::int64_t offset, std::int64_t size,
                     std::string name)
    : file_(std::move(file)), offset_(offset), size_(size), name_(std::move(name)) {}

void FileBytes::check_chunk(std::int64_t chunk, const void* data, std::int64_t count) const {
  const std::uint32_t got = crc32(data, static_cast<std::size_t>(count));
  const std::uint32_t expected = chunks_[static_cast<std::size_t>(chunk)];
  FABRIC_CHECK(Checkpoint, got == expected, "[fabric.load] ", name(), " is damaged between bytes ",
               chunk * kChecksumChunk, " and ", chunk * kChecksumChunk + count,
               ": their checksum is another than when they were written");
}

void FileBytes::read(std::int64_t begin, std::int64_t count, void* to) const {
  FABRIC_CHECK(Checkpoint, begin >= 0 && count >= 0 && begin <= size_ && count <= size_ - begin,
               "[fabric.load] ", name(), " is too short; got ", size_, " bytes; expected bytes ",
               begin, " to ", begin + count);
  if (chunks_.empty()) {
    file_->read(offset_ + begin, count, to);
    return;
  }
  auto* next = static_cast<char*>(to);
  std::unique_ptr<char[]> staging;
  const std::int64_t end = begin + count;
  for (std::int64_t chunk = begin / kChecksumChunk; chunk * kChecksumChunk < end; ++chunk) {
    const std::int64_t first = chunk * kChecksumChunk;
    const std::int64_t whole = std::min(kChecksumChunk, size_ - first);
    const std::int64_t from = std::max(begin, first);
    const std::int64_t wanted = std::min(end, first + whole) - from;
    if (wanted == whole) {
      file_->read(offset_ + first, whole, next);
      check_chunk(chunk, next, whole);
    } else {
      if (!staging) {
        staging = std::make_unique_for_overwrite<char[]>(kChecksumChunk);
      }
      file_->read(offset_ + first, whole, staging.get());
      check_chunk(chunk, staging.get(), whole);
      std::memcpy(next, staging.get() + (from - first), static_cast<std::size_t>(wanted));
    }
    next += wanted;
  }
}

std::shared_ptr<char> FileBytes::lend(std::int64_t begin, std::int64_t count) const {
  if (begin < 0 || count < 0 || begin > size_ || count > size_ - begin) {
    return nullptr;
  }
  return file_->mapped(offset_ + begin, count);
}

}  // namespace fabric::detail
