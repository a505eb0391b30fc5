#include <fabric/checkpoint/sharded_bytes.h>

#include <cstring>

#include <ATen/ATen.h>

#include <accelerators/ordinary_scope.h>

namespace fabric::detail {
namespace {

class MemberBytes final : public TensorBytes {
 public:
  MemberBytes(std::shared_ptr<ShardedUnitBytes> unit, std::size_t index, at::ScalarType dtype)
      : unit_(std::move(unit)), item_(static_cast<std::int64_t>(c10::elementSize(dtype))) {
    begin_ = unit_->unit().layout.offsets[index] * item_;
    size_ = unit_->unit().layout.numels[index] * item_;
  }

  std::int64_t size() const override { return size_; }
  void read(std::int64_t begin, std::int64_t count, void* to) const override {
    std::memcpy(to, static_cast<const char*>(data()) + begin, static_cast<std::size_t>(count));
  }
  const void* data() const override {
    const at::Tensor& whole = unit_->whole();
    return whole.defined() ? static_cast<const char*>(whole.const_data_ptr()) + begin_ : nullptr;
  }
  GatherGroup* group() const override { return unit_.get(); }

 private:
  std::shared_ptr<ShardedUnitBytes> unit_;
  std::int64_t item_;
  std::int64_t begin_ = 0;
  std::int64_t size_ = 0;
};

}  // namespace

ShardedUnitBytes::ShardedUnitBytes(std::shared_ptr<const UnitShards> unit,
                                   std::function<at::Tensor()> own)
    : unit_(std::move(unit)), own_(std::move(own)) {}

StoredTensor ShardedUnitBytes::member(const std::shared_ptr<ShardedUnitBytes>& self,
                                      std::size_t index) const {
  return member(self, index, unit_->shard.scalar_type());
}

StoredTensor ShardedUnitBytes::member(const std::shared_ptr<ShardedUnitBytes>& self,
                                      std::size_t index, at::ScalarType dtype) const {
  const at::Tensor& parameter = unit_->members[index].tensor;
  return {dtype, parameter.sizes().vec(), parameter.strides().vec(), 0,
          std::make_shared<MemberBytes>(self, index, dtype)};
}

void ShardedUnitBytes::gather() {
  if (holds_++ == 0) {
    const OrdinaryScope ordinary;
    whole_ = unit_->gather(own_()).to(at::kCPU);
  }
}

void ShardedUnitBytes::release() {
  if (--holds_ == 0) {
    whole_.reset();
  }
}

}  // namespace fabric::detail
