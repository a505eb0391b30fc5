// FabricOptimizer: the handle of a set-up optimizer.
#pragma once

#include <functional>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include <torch/optim/optimizer.h>

#include <accelerators/error.h>
#include <strategies/precision/grad_scaler.h>
#include <strategies/strategy.h>

namespace fabric {

/// An optimizer as `fabric.setup_optimizers` returns it: a small copyable handle of one type for
/// all optimizers, which owns the one it was given as a temporary and refers to the one it was
/// given as a variable. It converts to `torch::optim::Optimizer&`, so that schedulers and the
/// user's functions take it:
///
///     auto optimizer = fabric.setup_optimizers(torch::optim::SGD(model->parameters(), 0.1));
///     torch::optim::StepLR schedule(optimizer, /*step_size=*/1, /*gamma=*/0.7);
class FabricOptimizer {
 public:
  /// Empty; using it throws NotLaunchedError.
  FabricOptimizer() = default;
  /// @param scaler null where losses are not scaled
  FabricOptimizer(std::shared_ptr<torch::optim::Optimizer> optimizer,
                  std::shared_ptr<Strategy> strategy, std::shared_ptr<GradScaler> scaler);

  /// One update of the parameters. Returns the closure's loss, or an undefined tensor. Where losses
  /// are scaled, the update is left out if a gradient on any rank is not finite; the closure then
  /// runs once and must call Fabric::backward.
  at::Tensor step(torch::optim::Optimizer::LossClosure closure = nullptr);
  void zero_grad(bool set_to_none = true);

  std::vector<torch::optim::OptimizerParamGroup>& param_groups();
  /// Per-parameter state, keyed as in LibTorch by the parameter's TensorImpl.
  auto& state() { return raw().state(); }
  torch::optim::OptimizerOptions& defaults();
  void add_param_group(const torch::optim::OptimizerParamGroup& group);

  /// The user's own optimizer.
  torch::optim::Optimizer& optimizer() { return raw(); }
  operator torch::optim::Optimizer&() { return raw(); }
  FabricOptimizer* operator->() { return this; }
  explicit operator bool() const { return optimizer_ != nullptr; }

 private:
  torch::optim::Optimizer& raw() const;

  std::shared_ptr<torch::optim::Optimizer> optimizer_;
  std::shared_ptr<Strategy> strategy_;
  std::shared_ptr<GradScaler> scaler_;
  std::shared_ptr<ScaledOptimizer> scaled_;  // known to the scaler as long as any handle lives
};

namespace detail {

/// Brings an optimizer in any form to a shared pointer; a variable is pointed to, not owned.
template <class T>
std::shared_ptr<torch::optim::Optimizer> shared_optimizer(T&& optimizer) {
  using Plain = std::remove_cvref_t<T>;
  static_assert(!std::is_same_v<Plain, FabricOptimizer>,
                "fabric.setup_optimizers was given a FabricOptimizer: it has been set up already.");
  if constexpr (std::is_base_of_v<torch::optim::Optimizer, Plain>) {
    if constexpr (std::is_lvalue_reference_v<T>) {
      return {std::shared_ptr<void>(), std::addressof(optimizer)};
    } else {
      return std::make_shared<Plain>(std::move(optimizer));
    }
  } else if constexpr (std::is_constructible_v<std::shared_ptr<torch::optim::Optimizer>, T>) {
    FABRIC_CHECK(Misconfiguration, optimizer != nullptr,
                 "[fabric.setup_optimizers] the optimizer pointer is null");
    return std::shared_ptr<torch::optim::Optimizer>(std::forward<T>(optimizer));
  } else {
    static_assert(
        std::is_base_of_v<torch::optim::Optimizer, Plain>,
        "fabric.setup takes a model and optimizers (torch::optim::Optimizer, by variable, "
        "temporary or smart pointer). A learning-rate scheduler is not set up: build it "
        "on the optimizer that setup returns.");
    return nullptr;
  }
}

}  // namespace detail
}  // namespace fabric
