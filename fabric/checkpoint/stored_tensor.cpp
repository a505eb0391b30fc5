#include <fabric/checkpoint/stored_tensor.h>

#include <algorithm>
#include <cstring>

#include <ATen/ATen.h>

#include <accelerators/error.h>
#include <accelerators/ordinary_scope.h>
#include <fabric/checkpoint/io/blobs.h>
#include <fabric/checkpoint/stored_bytes.h>

namespace fabric {
namespace detail {
namespace {

// The storage of a tensor, on the host or on a device.
class MemoryBytes final : public TensorBytes {
 public:
  explicit MemoryBytes(const at::Tensor& tensor) : storage_(tensor.storage()) {
    const OrdinaryScope ordinary;
    const auto size = static_cast<std::int64_t>(storage_.nbytes());
    if (!tensor.is_cpu()) {
      bytes_ = at::empty({0}, at::TensorOptions().dtype(at::kByte).device(tensor.device()));
      bytes_.set_(storage_, 0, {size}, {1});
    }
  }

  std::int64_t size() const override { return static_cast<std::int64_t>(storage_.nbytes()); }
  void read(std::int64_t begin, std::int64_t count, void* to) const override {
    if (count == 0) {
      return;
    }
    if (!bytes_.defined()) {
      std::memcpy(to, static_cast<const char*>(data()) + begin, static_cast<std::size_t>(count));
      return;
    }
    const OrdinaryScope ordinary;
    at::from_blob(to, {count}, at::TensorOptions().dtype(at::kByte))
        .copy_(bytes_.narrow(0, begin, count));
  }
  const void* data() const override { return bytes_.defined() ? nullptr : storage_.data(); }
  const void* identity() const override { return storage_.unsafeGetStorageImpl(); }

 private:
  c10::Storage storage_;
  at::Tensor bytes_;  // of a storage on a device
};

}  // namespace

void check_strided(const at::Tensor& tensor) {
  const char* kind = tensor.is_quantized()               ? "a quantised tensor"
                     : tensor.is_nested()                ? "a nested tensor"
                     : tensor.layout() != c10::kStrided  ? "a sparse tensor"
                     : tensor.is_meta()                  ? "a tensor without values (meta)"
                     : !tensor.has_storage()             ? "a tensor without storage"
                                                         : nullptr;
  FABRIC_CHECK(Checkpoint, kind == nullptr, "[fabric.state] ", kind, " cannot be saved; got shape ",
               tensor.sizes(), "; expected a dense tensor with values. Hint: save its parts, or ",
               "what to_dense() or dequantize() gives.");
}

}  // namespace detail

namespace {

std::int64_t numel_of(const std::vector<std::int64_t>& sizes) {
  std::int64_t numel = 1;
  for (const std::int64_t size : sizes) {
    numel *= size;
  }
  return numel;
}

at::Tensor resolved(const at::Tensor& tensor) {
  const OrdinaryScope ordinary;
  return tensor.resolve_conj().resolve_neg();
}

}  // namespace

StoredTensor::StoredTensor(const at::Tensor& tensor)
    : requires_grad(tensor.requires_grad()), dtype_(tensor.scalar_type()) {
  detail::check_strided(tensor);
  tensor_ = resolved(tensor);
  sizes_ = tensor_.sizes().vec();
  strides_ = tensor_.strides().vec();
  offset_ = tensor_.storage_offset();
  numel_ = tensor_.numel();
  bytes_ = std::make_shared<detail::MemoryBytes>(tensor_);
}

StoredTensor::StoredTensor(at::ScalarType dtype, std::vector<std::int64_t> sizes,
                           std::vector<std::int64_t> strides, std::int64_t offset,
                           std::shared_ptr<const detail::TensorBytes> bytes)
    : dtype_(dtype),
      sizes_(std::move(sizes)),
      strides_(std::move(strides)),
      offset_(offset),
      numel_(numel_of(sizes_)),
      bytes_(std::move(bytes)) {}

std::int64_t StoredTensor::nbytes() const {
  return numel_ * static_cast<std::int64_t>(c10::elementSize(dtype_));
}

bool StoredTensor::is_dense() const {
  if (numel_ < 2) {
    return true;
  }
  // Sorted by stride, each dimension begins where the one inside it ends.
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < sizes_.size(); ++i) {
    if (sizes_[i] != 1) {
      order.push_back(i);
    }
  }
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return strides_[a] < strides_[b]; });
  std::int64_t expected = 1;
  for (const std::size_t i : order) {
    if (strides_[i] != expected) {
      return false;
    }
    expected *= sizes_[i];
  }
  return true;
}

at::Tensor StoredTensor::tensor() const {
  if (tensor_.defined()) {
    return tensor_;
  }
  at::Tensor result = lent();
  return result.defined() ? result : clone();
}

at::Tensor StoredTensor::lent() const {
  if (numel_ == 0) {
    return {};
  }
  const auto item = static_cast<std::int64_t>(c10::elementSize(dtype_));
  std::shared_ptr<char> memory = bytes_->lend(offset_ * item, span() * item);
  // Elements that lie askew would be undefined behaviour, and a trap on some processors.
  if (!memory || reinterpret_cast<std::uintptr_t>(memory.get()) % static_cast<std::uintptr_t>(item)) {
    return {};
  }
  const OrdinaryScope ordinary;
  void* first = memory.get();
  return at::from_blob(
      first, sizes_, strides_, [kept = std::move(memory)](void*) {}, at::TensorOptions(dtype_));
}

std::int64_t StoredTensor::span() const {
  if (numel_ == 0) {
    return 0;
  }
  std::int64_t last = 0;
  for (std::size_t i = 0; i < sizes_.size(); ++i) {
    last += (sizes_[i] - 1) * strides_[i];
  }
  return last + 1;
}

at::Tensor StoredTensor::clone() const {
  const OrdinaryScope ordinary;
  if (tensor_.defined()) {
    return tensor_.detach().to(at::kCPU, /*non_blocking=*/false, /*copy=*/true);
  }
  const detail::GatheredScope gathered(*bytes_);
  const auto item = static_cast<std::int64_t>(c10::elementSize(dtype_));
  at::Tensor result;
  if (is_dense()) {
    result = at::empty_strided(sizes_, strides_, at::TensorOptions().dtype(dtype_));
    detail::read_blobs({{bytes_.get(), offset_ * item, nbytes(), result.mutable_data_ptr()}});
    return result;
  }
  // The run from the first element to the last, then the elements out of it.
  at::Tensor run = at::empty({span()}, at::TensorOptions().dtype(dtype_));
  detail::read_blobs({{bytes_.get(), offset_ * item, span() * item, run.mutable_data_ptr()}});
  // Elements that repeat stay that way: a small file must not make a large tensor.
  const at::Tensor elements = run.as_strided(sizes_, strides_);
  return span() <= numel_ ? elements : elements.clone();
}

}  // namespace fabric
