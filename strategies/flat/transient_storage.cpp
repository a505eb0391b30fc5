#include <strategies/flat/transient_storage.h>

#include <algorithm>
#include <utility>

#include <ATen/ATen.h>
#include <c10/core/CPUAllocator.h>

#include <accelerators/ordinary_scope.h>
#include <strategies/flat/gradient_hook.h>
#include <strategies/flat/parameter_use.h>
#include <strategies/flat/storage_map.h>

namespace fabric {
namespace {

c10::Allocator* allocator_of(c10::Device device) {
  return c10::GetAllocator(device.type());
}

c10::Storage empty_storage(std::int64_t nbytes, c10::Device device) {
  return c10::Storage(c10::make_intrusive<c10::StorageImpl>(
      c10::StorageImpl::use_byte_size_t(), c10::SymInt(nbytes), c10::DataPtr(nullptr, device),
      allocator_of(device), /*resizable=*/false));
}

at::Tensor on_storage(const c10::Storage& storage, const at::Tensor& like, std::int64_t offset,
                      at::IntArrayRef sizes) {
  auto impl =
      c10::make_intrusive<c10::TensorImpl>(c10::TensorImpl::VIEW, c10::Storage(storage),
                                           like.key_set().remove(kParameterKey), like.dtype());
  impl->set_storage_offset(offset);
  impl->set_sizes_contiguous(sizes);
  return at::Tensor(std::move(impl));
}

}  // namespace

TransientStorage::TransientStorage(std::int64_t numel, at::ScalarType dtype, c10::Device device,
                                   std::string refusal)
    : nbytes_(numel * static_cast<std::int64_t>(c10::elementSize(dtype))),
      device_(device),
      storage_(empty_storage(nbytes_, device)),
      parked_(empty_storage(nbytes_, device)) {
  parked_.unsafeGetStorageImpl()->release_data_and_set_meta_custom_data_ptr_error_msg_(
      std::move(refusal));
  const OrdinaryScope ordinary;
  const at::Tensor like = at::empty({0}, at::TensorOptions().dtype(dtype).device(device));
  flat_ = on_storage(storage_, like, 0, {numel});
}

at::Tensor TransientStorage::part(std::int64_t offset, const at::Tensor& like) const {
  at::Tensor part = on_storage(storage_, flat_, offset, like.sizes());
  if (like.is_non_overlapping_and_dense()) {
    part.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(), offset);
  }
  return part;
}

void TransientStorage::adopt(const at::Tensor& tensor, std::int64_t offset) {
  const EngineScope scope;
  tensor.set_data(with_parameter_key(shown_ ? storage_ : parked_, part(offset, tensor), offset));
  tensor.unsafeGetTensorImpl()->set_allow_tensor_metadata_change(true);
  for (const at::Tensor& other : adopted_) {
    if (other.is_same(tensor)) {
      return;
    }
  }
  adopted_.push_back(tensor);
}

bool TransientStorage::holds(const at::Tensor& tensor) const {
  const c10::StorageImpl* storage = storage_of(tensor);
  return (storage == this->storage() || storage == parked()) && tensor.key_set().has(kParameterKey);
}

void TransientStorage::allocate() {
  if (!allocated_) {
    storage_.set_data_ptr_noswap(allocator_of(device_)->allocate(nbytes_));
    allocated_ = true;
    if (count_ != nullptr) {
      count_->now += nbytes_;
      count_->peak = std::max(count_->peak, count_->now);
    }
  }
}

void TransientStorage::release() {
  if (allocated_) {
    storage_.set_data_ptr_noswap(c10::DataPtr(nullptr, device_));
    allocated_ = false;
    if (count_ != nullptr) {
      count_->now -= nbytes_;
    }
  }
}

void TransientStorage::show() {
  if (!std::exchange(shown_, true)) {
    for (const at::Tensor& tensor : adopted_) {
      tensor.unsafeGetTensorImpl()->set_storage_keep_dtype(storage_);
    }
  }
}

void TransientStorage::hide() {
  if (std::exchange(shown_, false)) {
    for (const at::Tensor& tensor : adopted_) {
      if (holds(tensor)) {
        tensor.unsafeGetTensorImpl()->set_storage_keep_dtype(parked_);
      }
    }
  }
}

void put_data(const at::Tensor& tensor, const at::Tensor& data) {
  if (!tensor.is_meta()) {
    tensor.set_data(data);
    return;
  }
  if (!data.is_meta() || tensor.dtype() != data.dtype()) {
    forget_accumulator(tensor);
    if (tensor.is_leaf() && tensor.grad().defined()) {
      tensor.mutable_grad().reset();
    }
  }
  tensor.unsafeGetTensorImpl()->shallow_copy_from(data.getIntrusivePtr());
}

at::Tensor part_of(const at::Tensor& flat, std::int64_t offset, std::int64_t numel) {
  const OrdinaryScope ordinary;
  return on_storage(flat.storage(), flat, flat.storage_offset() + offset, {numel});
}

}  // namespace fabric
