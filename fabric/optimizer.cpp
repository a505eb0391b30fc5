#include <fabric/optimizer.h>

#include <optional>

#include <c10/core/impl/LocalDispatchKeySet.h>

#include <fabric/simulation.h>
#include <strategies/flat/parameter_use.h>

namespace fabric {

FabricOptimizer::FabricOptimizer(std::shared_ptr<torch::optim::Optimizer> optimizer,
                                 std::shared_ptr<Strategy> strategy)
    : optimizer_(std::move(optimizer)), strategy_(std::move(strategy)) {
  strategy_->adopt(*optimizer_);
}

torch::optim::Optimizer& FabricOptimizer::raw() const {
  FABRIC_CHECK(NotLaunched, optimizer_ != nullptr, "[fabric.optimizer] this FabricOptimizer is ",
               "empty. Hint: assign what fabric.setup_optimizers(…) returns before you use it.");
  return *optimizer_;
}

at::Tensor FabricOptimizer::step(torch::optim::Optimizer::LossClosure closure) {
  torch::optim::Optimizer& optimizer = raw();
  strategy_->before_step(optimizer);
  at::Tensor loss;
  {
    const RoutedScope uses;
    std::optional<c10::impl::ExcludeDispatchKeyGuard> nothing_to_hear;
    if (!closure) {  // a closure runs the model
      nothing_to_hear.emplace(kParameterKey);
    }
    loss = optimizer.step(std::move(closure));
  }
  strategy_->after_step(optimizer);
  if (detail::Simulation* simulation = detail::Simulation::current()) {
    simulation->after_step(optimizer);
  }
  return loss;
}

void FabricOptimizer::zero_grad(bool set_to_none) {
  raw().zero_grad(set_to_none);
  strategy_->after_zero_grad(raw(), set_to_none);
}

std::vector<torch::optim::OptimizerParamGroup>& FabricOptimizer::param_groups() {
  return raw().param_groups();
}

torch::optim::OptimizerOptions& FabricOptimizer::defaults() {
  return raw().defaults();
}

void FabricOptimizer::add_param_group(const torch::optim::OptimizerParamGroup& group) {
  raw().add_param_group(group);
  strategy_->adopt(raw());
}

}  // namespace fabric
