// One chunk of a tensor: a box of its elements that is stored somewhere by itself.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <fabric/checkpoint/stored_tensor.h>

namespace fabric::detail {

/// A box of a tensor, in elements.
struct TensorChunk {
  std::vector<std::int64_t> offsets;
  std::vector<std::int64_t> sizes;
  /// Its elements, a tensor of these sizes; asked for when they are read first.
  std::function<StoredTensor()> open;
};

/// The tensor that chunks make up.
struct ChunkedTensor {
  std::string name;  ///< what texts call it
  c10::ScalarType dtype = c10::ScalarType::Float;
  std::vector<std::int64_t> sizes;
};

/// A chunk as runs of bytes: each lies in one piece both in the chunk and in the tensor, and they
/// come in the same order in both.
class StoredChunk {
 public:
  /// @param chunk with elements, inside of the tensor
  /// @param whole which outlives this
  StoredChunk(TensorChunk chunk, const ChunkedTensor& whole);

  const TensorChunk& box() const { return chunk_; }
  std::int64_t size() const { return size_; }  ///< in bytes
  bool is_one_run() const { return runs_ == 1; }
  /// The bytes of the tensor at which it begins and behind which it ends.
  std::int64_t first() const { return first_; }
  std::int64_t last() const { return begin_of(runs_ - 1) + run_; }

  /// Copies what lies in bytes [begin, end) of the tensor to its place in `to`, where byte `begin`
  /// goes. All of the chunk at once is checked against its checksum.
  /// @throws CheckpointError for elements of another dtype or shape, and damaged ones
  void read(std::int64_t begin, std::int64_t end, char* to) const;
  /// Of one run: where a read of the tensor that begins in the chunk ends best
  /// (TensorBytes::good_end).
  std::int64_t good_end(std::int64_t begin, std::int64_t most) const;
  /// Memory with bytes [begin, begin + count) of the chunk, where it can be lent.
  std::shared_ptr<char> lend(std::int64_t begin, std::int64_t count) const;

 private:
  // Where its elements lie one row after the other.
  struct Source {
    std::shared_ptr<const TensorBytes> bytes;
    std::int64_t offset = 0;
    std::optional<std::uint32_t> checksum{};  // of exactly these
    at::Tensor packed{};                      // of a chunk that is stored in another order

    void read(std::int64_t begin, std::int64_t count, char* to) const;
  };

  std::int64_t begin_of(std::int64_t run) const;
  std::int64_t first_run_behind(std::int64_t begin) const;
  void scatter(const char* from, std::int64_t local, std::int64_t count, std::int64_t begin,
               char* to) const;
  const Source& opened() const;

  TensorChunk chunk_;
  const ChunkedTensor& whole_;
  std::int64_t item_;                      // bytes of an element
  std::int64_t size_;                      // bytes of the chunk
  std::int64_t run_ = 0;                   // bytes of a run
  std::int64_t runs_ = 0;                  // how many
  std::int64_t first_ = 0;                 // byte of the tensor at which the chunk begins
  std::vector<std::int64_t> outer_sizes_;  // dimensions that number the runs
  std::vector<std::int64_t> outer_strides_;
  mutable std::mutex mutex_;
  mutable std::optional<Source> source_;
};

}  // namespace fabric::detail
