#include <fabric/checkpoint/sharded_bytes.h>

#include <cstring>

#include <ATen/ATen.h>

#include <accelerators/ordinary_scope.h>
#include <strategies/flat/parameter_use.h>

namespace fabric::detail {
namespace {

class MemberBytes final : public TensorBytes {
 public:
  MemberBytes(std::shared_ptr<ShardedUnitBytes> unit, std::size_t index, std::int64_t item)
      : unit_(std::move(unit)), index_(index), item_(item) {
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

  LocalBytes local() const override {
    const UnitShards& unit = unit_->unit();
    const MemberPart part = unit.part(index_);
    // Replicas have the same: each takes its share.
    const std::int64_t first = part.size * unit.replica / unit.replicas;
    const std::int64_t last = part.size * (unit.replica + 1) / unit.replicas;
    if (first == last) {
      return {};
    }
    const EngineScope engine;
    const StoredTensor own(unit_->part(index_).narrow(0, first, last - first));
    return {(part.begin + first) * item_, (last - first) * item_,
            std::make_shared<Run>(own.bytes(), own.offset() * item_, (last - first) * item_)};
  }

 private:
  // A run of other bytes.
  class Run final : public TensorBytes {
   public:
    Run(std::shared_ptr<const TensorBytes> bytes, std::int64_t begin, std::int64_t size)
        : bytes_(std::move(bytes)), begin_(begin), size_(size) {}
    std::int64_t size() const override { return size_; }
    void read(std::int64_t begin, std::int64_t count, void* to) const override {
      bytes_->read(begin_ + begin, count, to);
    }
    const void* data() const override {
      const auto* data = static_cast<const char*>(bytes_->data());
      return data == nullptr ? nullptr : data + begin_;
    }

   private:
    std::shared_ptr<const TensorBytes> bytes_;
    std::int64_t begin_;
    std::int64_t size_;
  };

  std::shared_ptr<ShardedUnitBytes> unit_;
  std::size_t index_;
  std::int64_t item_;
  std::int64_t begin_ = 0;
  std::int64_t size_ = 0;
};

}  // namespace

ShardedUnitBytes::ShardedUnitBytes(std::shared_ptr<const UnitShards> unit)
    : ShardedUnitBytes(unit, unit->shard) {}

ShardedUnitBytes::ShardedUnitBytes(std::shared_ptr<const UnitShards> unit, at::Tensor own)
    : unit_(std::move(unit)), options_(own.options()), own_(std::move(own)) {
  const EngineScope engine;
  for (std::size_t i = 0; i < unit_->members.size(); ++i) {
    const MemberPart part = unit_->part(i);
    parts_.push_back(own_.narrow(0, part.offset, part.size));
  }
}

ShardedUnitBytes::ShardedUnitBytes(std::shared_ptr<const UnitShards> unit,
                                   std::vector<at::Tensor> parts, const at::TensorOptions& options)
    : unit_(std::move(unit)), options_(options), parts_(std::move(parts)) {}

StoredTensor ShardedUnitBytes::member(const std::shared_ptr<ShardedUnitBytes>& self,
                                      std::size_t index) const {
  const at::Tensor& parameter = unit_->members[index].tensor;
  const at::ScalarType dtype = c10::typeMetaToScalarType(options_.dtype());
  return {dtype, parameter.sizes().vec(), parameter.strides().vec(), 0,
          std::make_shared<MemberBytes>(self, index,
                                        static_cast<std::int64_t>(c10::elementSize(dtype)))};
}

void ShardedUnitBytes::gather() {
  if (holds_++ > 0) {
    return;
  }
  const EngineScope engine;
  at::Tensor own = own_;
  if (!own.defined()) {
    own = at::zeros({unit_->layout.shard}, options_.requires_grad(false));
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      if (parts_[i].defined() && parts_[i].numel() > 0) {
        own.narrow(0, unit_->part(i).offset, parts_[i].numel()).copy_(parts_[i]);
      }
    }
  }
  whole_ = unit_->gather(own).to(at::kCPU);
}

void ShardedUnitBytes::release() {
  if (--holds_ == 0) {
    whole_.reset();
  }
}

}  // namespace fabric::detail
