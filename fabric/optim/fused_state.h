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

  /// Where element 0 of each of the tensors lies whose bit is set in `wanted`, if each is a dense
  /// tensor on the CPU, contiguous, of `size` elements of `dtype`; null otherwise. What was found
  /// is remembered for as long as the tensors stay.
  const std::array<void*, 3>* data(unsigned wanted, std::int64_t size, caffe2::TypeMeta dtype) {
    const bool as_seen =
        seen_.size == size && seen_.dtype == dtype && seen_.wanted == wanted &&
        seen_.tensors[0].unsafeGetTensorImpl() == tensors[0].unsafeGetTensorImpl() &&
        seen_.tensors[1].unsafeGetTensorImpl() == tensors[1].unsafeGetTensorImpl() &&
        seen_.tensors[2].unsafeGetTensorImpl() == tensors[2].unsafeGetTensorImpl();
    return as_seen || look_at(wanted, size, dtype) ? &seen_.data : nullptr;
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
    std::array<at::Tensor, 3> tensors;  // held, so that no others take their addresses
    std::array<void*, 3> data{};
    std::int64_t size = -1;
    caffe2::TypeMeta dtype;
    unsigned wanted = 0;
  };
  bool look_at(unsigned wanted, std::int64_t size, caffe2::TypeMeta dtype);

  const StateLayout* layout_;
  Seen seen_;
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
