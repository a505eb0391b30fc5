// Memory that comes and goes while the tensors on it keep their identity.
//
// This file and its source are the only ones that exchange the storages of tensors; the test of the
// same name fails first when LibTorch changes them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/Storage.h>

namespace fabric {

/// Bytes of several storages together.
struct MemoryCount {
  std::int64_t now = 0;
  std::int64_t peak = 0;
};

/// A flat storage whose memory is there only between `allocate` and `release`. Views of its
/// tensors, also those that autograd has saved, stay on it and are valid again after the next
/// `allocate`. Tensors that were adopted lie on a second, parked storage while they are hidden: raw
/// access to them then throws `refusal` instead of reading what is not there.
class TransientStorage {
 public:
  /// @param numel elements
  /// @param refusal what raw access to a hidden tensor throws
  TransientStorage(std::int64_t numel, at::ScalarType dtype, c10::Device device,
                   std::string refusal);
  TransientStorage(const TransientStorage&) = delete;
  TransientStorage& operator=(const TransientStorage&) = delete;

  /// All of it, 1-D, with a version counter of its own: writing through it is no in-place change of
  /// the tensors for autograd.
  const at::Tensor& flat() const { return flat_; }
  /// A part of it, shaped like `like`, of the same kind.
  at::Tensor part(std::int64_t offset, const at::Tensor& like) const;

  /// Moves `tensor` here, keeping its identity, version and autograd state; from now on it carries
  /// the parameter key. Its values are not copied. It is hidden like the others.
  void adopt(const at::Tensor& tensor, std::int64_t offset);
  /// Whether `tensor` still lies where it was adopted (nobody replaced its data).
  bool holds(const at::Tensor& tensor) const;

  /// From now on the memory counts in `count`, which outlives this object.
  void count_memory(MemoryCount& count) { count_ = &count; }

  bool allocated() const { return allocated_; }
  void allocate();
  /// Gives the memory back. The tensors must be hidden.
  void release();

  bool shown() const { return shown_; }
  /// Lets the adopted tensors see the memory, or hides it from them.
  void show();
  void hide();

  const c10::StorageImpl* storage() const { return storage_.unsafeGetStorageImpl(); }
  const c10::StorageImpl* parked() const { return parked_.unsafeGetStorageImpl(); }
  std::int64_t nbytes() const { return nbytes_; }

 private:
  std::int64_t nbytes_;
  c10::Device device_;
  c10::Storage storage_;
  c10::Storage parked_;
  at::Tensor flat_;
  std::vector<at::Tensor> adopted_;
  MemoryCount* count_ = nullptr;
  bool allocated_ = false;
  bool shown_ = false;
};

/// `tensor.set_data(data)` also where LibTorch takes the two for incompatible (a meta tensor gets
/// memory): `tensor` keeps its identity, hooks and requires_grad; a gradient of another device
/// goes.
void put_data(const at::Tensor& tensor, const at::Tensor& data);

/// A part of a flat tensor as a tensor of its own: a leaf, and no autograd view.
at::Tensor part_of(const at::Tensor& flat, std::int64_t offset, std::int64_t numel);

}  // namespace fabric
