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
};

/// What all parameters of one group share in one step.
struct GroupStep {
  const torch::optim::OptimizerOptions* options = nullptr;
  double lr = 0;
  at::Tensor lr_tensor;  ///< defined where the learning rate lies on a device
  StateNeeds needs;
  at::Tensor grad_scale;      ///< undefined for 1
  at::Tensor found_inf;       ///< defined where it lies on a device
  double gradient_scale = 1;  ///< what gradients on the CPU are multiplied with: 1 / grad_scale
};

/// Parameters of one group that one call updates: of one kind of number, with equally many steps
/// behind them. Either spans, which our kernels update where they lie, or lists for ATen's.
struct Run {
  bool spans_only = true;
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
  /// Adds a parameter with a gradient. Counts the step, unless the device does.
  void add(const at::Tensor& parameter, const at::Tensor& gradient, FusedParamState& state,
           const GroupStep& group) {
    if (!add_plain(parameter, gradient, state, group)) {
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
  bool add_plain(const at::Tensor& parameter, const at::Tensor& gradient, FusedParamState& state,
                 const GroupStep& group);
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
  std::size_t last_ = 0;
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

}  // namespace fabric::detail
