// What a fused optimizer keeps for one parameter, under the names of LibTorch and Python.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <torch/optim/optimizer.h>

#include <strategies/elementwise_optimizer.h>
#include <strategies/strategy.h>

namespace fabric {

/// The tensors of an optimizer's state: their names, and whether its archives count steps.
struct StateLayout {
  std::array<const char*, 3> names{};
  std::size_t size = 0;
  bool counts_steps = true;
};

/// The state of one parameter. Archives have LibTorch's keys, so that a file of
/// `torch::optim::AdamW` loads into FusedAdamW and the other way round.
///
///     auto& state = fabric::FusedOptimizer::state_of(optimizer, net->weight);
///     state.find("exp_avg")->zero_();
class FusedParamState : public torch::optim::OptimizerParamState, public ElementwiseState {
 public:
  explicit FusedParamState(const StateLayout& layout) : layout_(&layout) {}

  const StateLayout& layout() const { return *layout_; }

  /// The updates so far. Waits for the device where the count lies there.
  std::int64_t step() const;
  void set_step(std::int64_t step);

  /// All that is defined, under the names of Python's state dictionary; `step` as a float32 tensor
  /// of no dimension.
  std::vector<NamedTensor> named_tensors() const;
  /// The tensor of that name, null where the optimizer has none. It may be undefined.
  at::Tensor* find(const std::string& name);

  void visit_tensors(const TensorVisitor& visit) override;
  void serialize(torch::serialize::InputArchive& archive) override;
  void serialize(torch::serialize::OutputArchive& archive) const override;

  /// Where element 0 of `tensors[i]` lies; null unless it is a dense tensor on the CPU, contiguous,
  /// of `size` elements of `dtype`. What was found is remembered for as long as the tensor stays.
  void* data(std::size_t i, std::int64_t size, caffe2::TypeMeta dtype) {
    const Seen& seen = seen_[i];
    return seen.tensor.defined() &&
                   seen.tensor.unsafeGetTensorImpl() == tensors[i].unsafeGetTensorImpl() &&
                   seen.size == size && seen.dtype == dtype
               ? seen.data
               : look_at(i, size, dtype);
  }

  /// In the layout's order; undefined where not used yet. They are replaced, never put on other
  /// memory.
  std::array<at::Tensor, 3> tensors;
  /// The updates so far, unless `device_step` is defined.
  std::int64_t host_step = 0;
  /// The same as a float tensor of one element beside a parameter on a device.
  at::Tensor device_step;

 protected:
  void forget_seen() { seen_ = {}; }

 private:
  struct Seen {
    at::Tensor tensor;  // held, so that no other takes its address
    void* data = nullptr;
    std::int64_t size = 0;
    caffe2::TypeMeta dtype;
  };
  void* look_at(std::size_t i, std::int64_t size, caffe2::TypeMeta dtype);

  const StateLayout* layout_;
  std::array<Seen, 3> seen_;
};

/// Whether a tensor's memory is its elements, one behind the other, on the CPU.
inline bool lies_plainly(const c10::TensorImpl& tensor) {
  constexpr c10::DispatchKeySet dense(c10::DispatchKey::CPU);
  constexpr c10::DispatchKeySet lazy({c10::DispatchKey::Conjugate, c10::DispatchKey::Negative});
  const c10::DispatchKeySet keys = tensor.key_set();
  return keys.has_all(dense) && !keys.has_any(lazy) && tensor.is_contiguous();
}

/// The state of optimizers with one layout.
template <const StateLayout& kLayout>
class FusedState final : public FusedParamState {
 public:
  FusedState() : FusedParamState(kLayout) {}
  /// Shares the tensors, not the count.
  std::unique_ptr<torch::optim::OptimizerParamState> clone() const override {
    auto copy = std::make_unique<FusedState>(*this);
    copy->forget_seen();
    if (copy->device_step.defined()) {
      copy->device_step = copy->device_step.clone();
    }
    return copy;
  }
};

}  // namespace fabric
