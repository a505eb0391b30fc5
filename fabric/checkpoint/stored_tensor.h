// StoredTensor: a tensor of a state, wherever its elements are: in memory, on a device, in a file,
// or cut over ranks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

namespace fabric {

namespace detail {

/// Bytes that no rank has alone: they are gathered together and let go together.
class GatherGroup {
 public:
  virtual ~GatherGroup() = default;
  /// Makes the bytes of the group readable on this rank. Collective.
  virtual void gather() = 0;
  virtual void release() = 0;
};

class TensorBytes;

/// What this rank has of bytes that are cut over ranks, for it to write: no other rank has the
/// same.
struct LocalBytes {
  std::int64_t begin = 0;
  std::int64_t size = 0;
  std::shared_ptr<const TensorBytes> bytes{};  ///< (size)
};

/// A run of bytes, in which elements of one or several tensors lie.
class TensorBytes {
 public:
  virtual ~TensorBytes() = default;
  virtual std::int64_t size() const = 0;
  /// Copies bytes [begin, begin + count) to `to`, which lies on the host. May be called from
  /// several threads at once.
  /// @throws CheckpointError for bytes that cannot be read or are damaged
  virtual void read(std::int64_t begin, std::int64_t count, void* to) const = 0;
  /// Where they lie in host memory, if they do.
  virtual const void* data() const { return nullptr; }
  /// Bytes [begin, begin + count) in host memory, unchanged until the result is let go. Null where
  /// they are not there as one run: `read` copies them.
  virtual std::shared_ptr<const void> hold(std::int64_t begin, std::int64_t /*count*/) const {
    const auto* all = static_cast<const char*>(data());
    return all == nullptr ? nullptr
                          : std::shared_ptr<const void>(std::shared_ptr<void>(), all + begin);
  }
  /// A tensor on that memory: it keeps it, and its version tells of writes. Undefined where there
  /// is none.
  virtual at::Tensor owner() const { return {}; }
  /// Bytes [begin, begin + count) in memory that the result keeps, for a tensor to lie on without a
  /// copy: of a file that is mapped. Not checked against its checksums. Null where there is none.
  virtual std::shared_ptr<char> lend(std::int64_t /*begin*/, std::int64_t /*count*/) const {
    return nullptr;
  }
  /// Where a read that begins there and is to take about `most` bytes ends best: where what a
  /// checksum covers ends. Behind `begin`, and not behind the bytes.
  virtual std::int64_t good_end(std::int64_t begin, std::int64_t most) const {
    return std::min(begin + most, size());
  }
  /// The CRC-32 of all bytes, for who reads all of them (read_blobs) to check; `read` does not.
  virtual std::optional<std::uint32_t> checksum() const { return {}; }
  /// What texts call them ("archive/data/3 of model.pt").
  virtual std::string name() const { return "a tensor"; }
  /// What has to be gathered before a read, if anything.
  virtual GatherGroup* group() const { return nullptr; }
  /// Where a group has to gather: this rank's part.
  virtual LocalBytes local() const { return {}; }
  /// Equal for bytes of one allocation: ranges of those may overlap.
  virtual const void* identity() const { return this; }
};

}  // namespace detail

/// A handle of a tensor's elements with the shape they make. Copies refer to the same elements.
class StoredTensor {
 public:
  /// Of a tensor in memory or on a device, by reference; lazy conjugation and negation are
  /// resolved.
  /// @throws CheckpointError for tensors that no file can hold (sparse, quantised, nested, without
  ///         values)
  explicit StoredTensor(const at::Tensor& tensor);
  /// @param strides in elements
  /// @param offset of the first element in `bytes`, in elements
  StoredTensor(at::ScalarType dtype, std::vector<std::int64_t> sizes,
               std::vector<std::int64_t> strides, std::int64_t offset,
               std::shared_ptr<const detail::TensorBytes> bytes);

  at::ScalarType dtype() const { return dtype_; }
  at::IntArrayRef sizes() const { return sizes_; }
  at::IntArrayRef strides() const { return strides_; }
  std::int64_t offset() const { return offset_; }
  std::int64_t numel() const { return numel_; }
  std::int64_t nbytes() const;
  /// Elements from the first to the last, with what lies between them.
  std::int64_t span() const;
  /// Whether the elements fill one run of bytes, in whatever order.
  bool is_dense() const;
  const std::shared_ptr<const detail::TensorBytes>& bytes() const { return bytes_; }

  /// The whole tensor: itself where it is in memory or on a device, else a new one on the CPU.
  /// One of a file that is mapped lies on the mapping instead: it costs no copy, its pages are read
  /// when they are touched, and they are not verified; writes stay in this process, and are seen by
  /// other tensors of the same elements. Collective where it is cut over ranks.
  at::Tensor tensor() const;
  /// The same, always a tensor of its own on the CPU, verified by what the file knows.
  at::Tensor clone() const;

  bool requires_grad = false;  ///< as Python shall see it
  bool replicated =
      false;  ///< whether every rank has the same elements, so that any may write them
  /// Who changes the elements, if all who do so announce it (Snapshot::before_write).
  enum class Writer { unknown, model, optimizer };
  Writer writer = Writer::unknown;
  bool announced() const { return writer != Writer::unknown; }

 private:
  at::Tensor lent() const;

  at::ScalarType dtype_;
  std::vector<std::int64_t> sizes_;
  std::vector<std::int64_t> strides_;
  std::int64_t offset_ = 0;
  std::int64_t numel_ = 0;
  std::shared_ptr<const detail::TensorBytes> bytes_;
  at::Tensor tensor_;  // where it was given one
};

}  // namespace fabric
