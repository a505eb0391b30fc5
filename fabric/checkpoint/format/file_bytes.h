// Bytes of tensors in a file, verified by what the file knows of them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <accelerators/error.h>
#include <fabric/checkpoint/io/checksum.h>
#include <fabric/checkpoint/io/file.h>
#include <fabric/checkpoint/stored_tensor.h>

namespace fabric::detail {

/// A run of a file. Reads are checked against checksums of chunks where the file has them, which
/// reads whole chunks.
class FileBytes final : public TensorBytes {
 public:
  /// @param name what texts call it ("archive/data/3")
  FileBytes(std::shared_ptr<const InputFile> file, std::int64_t offset, std::int64_t size,
            std::string name);

  /// @param checksums of each kChecksumChunk bytes, the last one shorter
  void set_chunk_checksums(std::vector<std::uint32_t> checksums) { chunks_ = std::move(checksums); }
  /// Of all bytes together.
  void set_checksum(std::uint32_t checksum) { whole_ = checksum; }

  std::int64_t size() const override { return size_; }
  void read(std::int64_t begin, std::int64_t count, void* to) const override;
  std::shared_ptr<char> lend(std::int64_t begin, std::int64_t count) const override;
  std::int64_t good_end(std::int64_t begin, std::int64_t most) const override {
    const std::int64_t end = begin + most;
    const std::int64_t grain = chunks_.empty() ? 1 : kChecksumChunk;
    const std::int64_t chunk = std::max(end / grain, begin / grain + 1) * grain;
    return std::min(chunk, size_);
  }
  std::optional<std::uint32_t> checksum() const override {
    return chunks_.empty() ? whole_ : std::nullopt;  // chunks have been checked one by one
  }
  std::string name() const override { return str(name_, " of ", file_->path().string()); }

 private:
  void check_chunk(std::int64_t chunk, const void* data, std::int64_t count) const;

  std::shared_ptr<const InputFile> file_;
  std::int64_t offset_;
  std::int64_t size_;
  std::string name_;
  std::vector<std::uint32_t> chunks_;
  std::optional<std::uint32_t> whole_;
};

}  // namespace fabric::detail
