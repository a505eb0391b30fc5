// The elements of a tensor that is cut into chunks: boxes that fill it, each stored somewhere by
// itself.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <c10/core/ScalarType.h>

#include <fabric/checkpoint/format/stored_chunk.h>
#include <fabric/checkpoint/stored_tensor.h>

namespace fabric::detail {

/// Serves the elements of the whole tensor row by row. A read opens the chunks it overlaps, and
/// reads of them what lies in its range. What covers a whole chunk is checked against the chunk's
/// checksum, a part only where the chunk's file has checksums of parts.
class ChunkedBytes final : public TensorBytes {
 public:
  /// Chunks without elements are dropped, and so are those that come twice.
  /// @param name what texts call it
  /// @throws CheckpointError for chunks of other dimensions, that reach outside, overlap or leave
  ///         gaps
  ChunkedBytes(std::string name, c10::ScalarType dtype, std::vector<std::int64_t> sizes,
               std::vector<TensorChunk> chunks);

  std::int64_t size() const override { return size_; }
  void read(std::int64_t begin, std::int64_t count, void* to) const override;
  /// Of a single chunk, where its bytes can be lent.
  std::shared_ptr<char> lend(std::int64_t begin, std::int64_t count) const override;
  /// Where the chunk there ends, or what its checksums cover; at the very end where chunks are no
  /// runs of rows: they are then checked together.
  std::int64_t good_end(std::int64_t begin, std::int64_t most) const override;
  std::string name() const override { return whole_.name; }

 private:
  void check_boxes() const;

  ChunkedTensor whole_;
  std::int64_t size_ = 0;
  bool runs_of_rows_ = false;
  std::vector<std::unique_ptr<StoredChunk>> chunks_;
};

}  // namespace fabric::detail
