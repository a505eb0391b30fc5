// What one step does to parameters that are updated alike, and how they are sorted into such runs.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <torch/optim/optimizer.h>

#include <accelerators/kernels/optimizer_kernels.h>
#include <fabric/optim/fused_state.h>

namespace fabric::detail {

/// Which tensors an optimizer's options call for.
struct StateNeeds {
  std::array<bool, 3> tensors{};
  double initial = 0;
  bool first_differs = false;  ///< the first update of a parameter is made in another way

  /// A bit for each tensor.
  unsigned mask() const {
    return (tensors[0] ? 1 : 0) | (tensors[1] ? 2 : 0) | (tensors[2] ? 4 : 0);
  }
};

/// What all parameters of one group share in one step.
struct GroupStep {
  const torch::optim::OptimizerOptions* options = nullptr;
  double lr = 0;
  at::Tensor lr_tensor;  ///< defined where the learning rate lies on a device
  StateNeeds needs;
  unsigned wanted = 0;        ///< needs.mask()
  at::Tensor grad_scale;      ///< undefined for 1
  at::Tensor found_inf;       ///< defined where it lies on a device
  double gradient_scale = 1;  ///< what gradients on the CPU are multiplied with: 1 / grad_scale
  /// Keys that a parameter or gradient has which needs more than its memory.
  c10::DispatchKeySet unusual = usual_obstacles();

  /// Those of lazy tensors and, unless the step was made through the handle of a set-up optimizer,
  /// of watched parameters.
  static c10::DispatchKeySet usual_obstacles();
};

/// Parameters of one group that one call updates: of one kind of number, with equally many steps
/// behind them. Either spans, which our kernels update where they lie, or lists for ATen's.
struct Run {
  bool spans_only = true;
  bool plain = true;  ///< spans, of which none is the first of its kind
  at::ScalarType dtype = at::kFloat;
  c10::Device device = c10::Device(c10::kCPU);
  std::int64_t step = 0;  ///< with this one; 0 where steps are counted on a device
  bool first = false;

  std::vector<kernels::OptimizerSpan> spans;
  std::vector<at::Tensor> parameters, gradients, steps;
  std::array<std::vector<at::Tensor>, 3> states;

  kernels::Real real() const {
    return dtype == at::kDouble ? kernels::Real::f64 : kernels::Real::f32;
  }
};

/// As ATen's operators take a tensor that may be undefined.
inline std::optional<at::Tensor> optional(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional<at::Tensor>(tensor) : std::nullopt;
}

/// The runs of one group. Kept between steps for its memory.
class Runs {
 public:
  /// Makes room for that many parameters.
  void expect(std::size_t count) {
    expected_ = count;
    touched_.reserve(count);
  }

  /// Adds a parameter with a gradient. Counts the step, unless the device does.
  void add(const at::Tensor& parameter, const at::Tensor& gradient, FusedParamState& state,
           const GroupStep& group) {
    if (!add_plain(*parameter.unsafeGetTensorImpl(), *gradient.unsafeGetTensorImpl(), state, group,
                   group.unusual)) {
      add_other(parameter, gradient, state, group);
    }
  }

  std::vector<Run>& filled() { return runs_; }

  /// Lets autograd know what is about to change, so that a backward through the old values is
  /// noticed.
  void bump_versions();

  /// Writes to where it belongs what had to be updated elsewhere, and forgets all tensors.
  void finish();
  /// After an exception: the steps were not made.
  void abandon() noexcept;

 private:
  bool add_plain(c10::TensorImpl& parameter, const c10::TensorImpl& gradient,
                 FusedParamState& state, const GroupStep& group, c10::DispatchKeySet unusual);
  void add_other(const at::Tensor& parameter, const at::Tensor& given, FusedParamState& state,
                 const GroupStep& group);
  struct Update {
    at::Tensor parameter = {}, gradient = {};
    std::array<at::Tensor, 3> states = {};  // undefined where not needed
  };
  void widen(Update& update);
  void add_span(const Update& update, Run& run);
  Run& run_for(bool spans_only, at::ScalarType dtype, c10::Device device, std::int64_t step,
               bool first);

  void clear() noexcept;

  std::vector<Run> runs_;
  std::vector<kernels::OptimizerSpan> spare_;  // memory of the last step's
  Run* last_ = nullptr;                        // that was added to
  std::size_t expected_ = 0;
  // What the step was counted in, and what it changes behind the dispatcher's back; null where not.
  struct Touched {
    FusedParamState* counted = nullptr;
    c10::TensorImpl* changed = nullptr;
  };
  std::vector<Touched> touched_;
  std::int64_t versions_ = 0;
  std::vector<at::Tensor> kept_;                              // what spans point into
  std::vector<std::pair<at::Tensor, at::Tensor>> copy_back_;  // to, from
};

// The way of nearly all parameters on the CPU; it decides what a step on small ones costs, hence
// its place here. It only loads, so that the processor is busy with several parameters at once:
// their objects lie scattered.
inline bool Runs::add_plain(c10::TensorImpl& parameter, const c10::TensorImpl& gradient,
                            FusedParamState& state, const GroupStep& group,
                            c10::DispatchKeySet unusual) {
  constexpr c10::DispatchKeySet dense(c10::DispatchKey::CPU);
  const caffe2::TypeMeta dtype = parameter.dtype();
  const std::int64_t size = parameter.numel();
  const bool real = dtype == caffe2::TypeMeta::Make<float>();
  const c10::DispatchKeySet keys = parameter.key_set(), gradient_keys = gradient.key_set();
  if ((!real && dtype != caffe2::TypeMeta::Make<double>()) || gradient.dtype() != dtype ||
      gradient.numel() != size || !(keys & gradient_keys).has_all(dense) ||
      (keys | gradient_keys).has_any(unusual) || !parameter.is_contiguous() ||
      !gradient.is_contiguous() || state.device_step.defined()) {
    return false;
  }
  const std::array<void*, 3>* states = state.data(group.wanted, size, dtype);
  if (states == nullptr) {
    return false;
  }
  versions_ += parameter.version_counter().current_version();  // brings it near, for bump_versions
  touched_.push_back({&state, &parameter});
  const std::int64_t step = ++state.host_step;
  const at::ScalarType scalar = real ? at::kFloat : at::kDouble;
  if (last_ == nullptr || last_->step != step || last_->dtype != scalar || !last_->plain) {
    last_ = &run_for(true, scalar, c10::Device(c10::kCPU), step, false);
  }
  const std::int64_t item = real ? 4 : 8;
  last_->spans.push_back(
      {.parameter = static_cast<char*>(parameter.unsafe_storage().mutable_data()) +
                    parameter.storage_offset() * item,
       .gradient = static_cast<const char*>(gradient.unsafe_storage().data()) +
                   gradient.storage_offset() * item,
       .state = *states,
       .size = size});
  return true;
}

}  // namespace fabric::detail
