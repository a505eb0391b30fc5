// What all fused optimizers share: groups, state, steps, and how parameters are sorted into runs
// that one call updates.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <torch/optim/optimizer.h>

#include <fabric/optim/fused_state.h>
#include <fabric/optim/fused_update.h>
#include <strategies/capturable_optimizer.h>
#include <strategies/elementwise_optimizer.h>
#include <strategies/grad_scale_aware.h>

namespace fabric {

/// A `torch::optim::Optimizer` whose step is one pass over parameters, gradients and state. It
/// takes the place of LibTorch's of the same name anywhere: schedulers, `torch::save`, closures,
/// `fabric.setup_optimizers`, shards.
///
/// float and double on the CPU are updated in place by kernels of ours, on all of LibTorch's
/// threads where there is enough to do; half precision and CUDA by ATen's fused kernels, where a
/// step never waits for the device. Complex parameters are updated as pairs of real numbers.
/// Parameters without a gradient are left alone, their step count too. Parameters may be frozen,
/// moved, converted and re-pointed at any time: state follows. Sparse gradients are an error.
class FusedOptimizer : public torch::optim::Optimizer,
                       public ElementwiseOptimizer,
                       public GradScaleAware,
                       public CapturableOptimizer {
 public:
  FusedOptimizer(FusedOptimizer&&) = default;

  /// One update. Returns the closure's loss, or an undefined tensor.
  /// @throws MisconfigurationError for a sparse gradient, a gradient that does not fit its
  ///         parameter, and a group with another optimizer's options
  torch::Tensor step(LossClosure closure = nullptr) override;

  void set_grad_scale(const at::Tensor& grad_scale, const at::Tensor& found_inf) override;

  std::string obstacle_to_capture() override;
  std::vector<at::Tensor> tensors_in_use() override;

  /// The state of a parameter; made where there is none, without tensors.
  FusedParamState& state_of(const at::Tensor& parameter);

  /// State of LibTorch's optimizer of the same kind in this one's form, with the same tensors; null
  /// where it is another's. From nothing, one without tensors.
  virtual std::unique_ptr<FusedParamState> own_state(
      const torch::optim::OptimizerParamState* state) const = 0;

  /// Whether weight decay shrinks parameters instead of adding to gradients, for classes of which
  /// Python has both under one name; nothing for others.
  virtual std::optional<bool> decoupled_weight_decay() const { return {}; }

  /// Checks and converts the options of groups that came since; constructors call it.
  /// @throws MisconfigurationError for options of another optimizer, or that cannot work
  void check_groups();

 protected:
  FusedOptimizer(std::vector<torch::optim::OptimizerParamGroup> groups,
                 std::unique_ptr<torch::optim::OptimizerOptions> defaults);

  /// A learning rate as a number or, where it lies on a device, as a tensor.
  struct LearningRate {
    double value = 0;
    at::Tensor tensor;
  };

  /// Brings options into this optimizer's form; null where they are another's.
  virtual std::unique_ptr<torch::optim::OptimizerOptions> own_options(
      const torch::optim::OptimizerOptions& options) const = 0;
  /// @throws MisconfigurationError for options that cannot work
  virtual void check_own_options(const torch::optim::OptimizerOptions& options) const = 0;
  virtual LearningRate learning_rate(const torch::optim::OptimizerOptions& options) const = 0;
  /// The option of that name, wherever it lies.
  virtual at::Tensor lr_tensor(const torch::optim::OptimizerOptions& options) const = 0;
  virtual detail::StateNeeds needs(const torch::optim::OptimizerOptions& options) const = 0;
  virtual void update_spans(const detail::GroupStep& group, const detail::Run& run) const = 0;
  /// `run.steps` have been counted, and are one a parameter.
  virtual void update_lists(const detail::GroupStep& group, const detail::Run& run) const = 0;

 private:
  void step_group(torch::optim::OptimizerParamGroup& group, const at::Tensor& grad_scale,
                  const at::Tensor& found_inf);
  void update(const detail::GroupStep& group, detail::Run& run) const;
  bool any_on_cpu() const;

  std::vector<const torch::optim::OptimizerOptions*> checked_;  // of groups
  detail::Runs runs_;
  at::Tensor grad_scale_, found_inf_;
};

}  // namespace fabric
