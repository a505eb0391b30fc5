// Loss scaling for float16: keeps small gradients from vanishing, without waiting for the device.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <accelerators/collectives/communicator.h>

namespace torch::optim {
class Optimizer;
}
namespace torch::serialize {
class InputArchive;
class OutputArchive;
}  // namespace torch::serialize

namespace fabric {

/// How the scale of a loss follows its gradients. Python's names and defaults.
struct GradScalerOptions {
  double init_scale = 65536;            ///< > 0
  double growth_factor = 2;             ///< > 1: after `growth_interval` finite iterations in a row
  double backoff_factor = 0.5;          ///< in (0, 1): after an iteration with gradients not finite
  std::int64_t growth_interval = 2000;  ///< ≥ 1

  friend constexpr bool operator==(const GradScalerOptions&, const GradScalerOptions&) = default;
};

/// What loss scaling knows of one set-up optimizer. Lives as long as a handle of it.
struct ScaledOptimizer {
  std::unordered_set<const c10::TensorImpl*> parameters;  // as the user gave them
  at::Tensor found_inf;        // of the step under way or just made, 0-dim
  at::Tensor any_inf;          // of all steps in this iteration, likewise
  bool unscaled = false;       // since the last backward
  int steps = 0;               // in this iteration
  std::int64_t backward = 0;   // how many there were at its last step
  std::int64_t last_step = 0;  // by the number of all steps
};

/// The state of loss scaling (precision "16-mixed"), on the device.
///
/// `Fabric::backward` multiplies a loss with the scale; the step of a set-up optimizer (or clipping
/// before it) divides the gradients by it, and the step is left out, on all ranks alike, when one
/// of them on any rank is infinite or NaN. The scale changes once an iteration: at the first
/// backward after every optimizer has had its step. An optimizer that lets others make 128 steps,
/// or has made none while another makes two, is not waited for until it steps again.
///
/// The rule of torch.amp.GradScaler: halve after gradients that are not finite, double after 2000
/// iterations without.
class GradScaler {
 public:
  /// @throws MisconfigurationError for options out of range
  GradScaler(GradScalerOptions options, Communicator ranks, c10::Device device);

  /// The scale now, 0-dim float32 on the device.
  const at::Tensor& scale() const { return scale_; }
  /// Iterations with finite gradients since the scale changed, 0-dim int32 on the device.
  const at::Tensor& growth_tracker() const { return growth_tracker_; }
  const GradScalerOptions& options() const { return options_; }

  /// Takes an optimizer over, with the parameters that its groups name.
  std::shared_ptr<ScaledOptimizer> adopt(const torch::optim::Optimizer& optimizer);

  /// Begins a backward: scales gradients that are still there again, so that they add up with the
  /// new ones, and ends the iteration where all optimizers have stepped. Returns what to hand to
  /// `loss.backward`.
  /// @param gradient of the loss, undefined for one
  at::Tensor begin_backward(const at::Tensor& loss, const at::Tensor& gradient);

  /// Divides the gradients of an optimizer by the scale, once after a backward, and notes whether
  /// all of all ranks were finite. Collective.
  /// @throws RoutingError for an optimizer that was not set up, and where gradients are there but
  ///         no Fabric::backward was; MisconfigurationError for float16 ones
  void unscale(const torch::optim::Optimizer& optimizer);

  /// Whether the unscaled gradients of an optimizer were not finite on some rank: 1 or 0, 0-dim
  /// float32 on the device.
  const at::Tensor& found_inf(const torch::optim::Optimizer& optimizer);

  /// Ends the step of an optimizer, made or left out.
  void stepped(const torch::optim::Optimizer& optimizer);

  /// Whether the gradient of a parameter is scaled now: an optimizer of it waits for its step.
  bool holds_scaled(const at::Tensor& parameter) const;

  /// Goes on from a saved place. @throws MisconfigurationError for numbers out of range
  void restore(double scale, std::int64_t growth_tracker, const GradScalerOptions& options);
  /// Writes and reads scale, growth tracker and options, under Python's names.
  void save(torch::serialize::OutputArchive& archive) const;
  void load(torch::serialize::InputArchive& archive);

 private:
  ScaledOptimizer& known(const torch::optim::Optimizer& optimizer);
  void end_iteration();

  GradScalerOptions options_;
  Communicator ranks_;
  at::Tensor scale_;
  at::Tensor growth_tracker_;
  std::unordered_map<const torch::optim::Optimizer*, std::weak_ptr<ScaledOptimizer>> optimizers_;
  std::int64_t backwards_ = 0;
  std::int64_t steps_ = 0;
};

}  // namespace fabric
