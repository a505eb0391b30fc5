// The elements of a tensor that is cut into chunks: boxes that fill it, each stored somewhere by
// itself.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <c10/core/ScalarType.h>

#include <fabric/checkpoint/stored_tensor.h>

namespace fabric::detail {

/// One box of a tensor, in elements.
struct TensorChunk {
  std::vector<std::int64_t> offsets;
  std::vector<std::int64_t> sizes;
  /// Its elements, a tensor of these sizes; asked for when they are read first.
  std::function<StoredTensor()> open;
};

/// Serves the elements of the whole tensor row by row. A read opens the chunks it overlaps, and reads
/// of them what lies in its range. What covers a whole chunk is checked against the chunk's checksum,
/// a part only where the chunk's file has checksums of parts.
class ChunkedBytes final : public TensorBytes {
 public:
  /// Chunks without elements are dropped, and so are those that come twice.
  /// @param name what texts call it
  /// @throws CheckpointError for chunks of other dimensions, that reach outside, overlap or leave gaps
  ChunkedBytes(std::string name, c10::ScalarType dtype, std::vector<std::int64_t> sizes,
               std::vector<TensorChunk> chunks);
  ~ChunkedBytes() override;

  std::int64_t size() const override { return size_; }
  void read(std::int64_t begin, std::int64_t count, void* to) const override;
  /// Of a single chunk, where its bytes can be lent.
  std::shared_ptr<char> lend(std::int64_t begin, std::int64_t count) const override;
  /// Such that reads of so many bytes cover whole chunks, where chunks are runs of rows of one size;
  /// else all bytes.
  std::int64_t granularity() const override { return granularity_; }
  std::string name() const override { return name_; }

 private:
  class Chunk;

  void check_boxes() const;

  std::string name_;
  c10::ScalarType dtype_;
  std::vector<std::int64_t> sizes_;
  std::int64_t size_ = 0;
  std::int64_t granularity_ = 1;
  std::vector<std::unique_ptr<Chunk>> chunks_;
};

}  // namespace fabric::detail
