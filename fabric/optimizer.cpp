#include <fabric/optimizer.h>

#include <optional>

#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/optim/lbfgs.h>

#include <fabric/detail/step_capture.h>
#include <fabric/simulation.h>
#include <strategies/flat/parameter_use.h>
#include <strategies/grad_scale_aware.h>
#include <strategies/write_announcement.h>

namespace fabric {

FabricOptimizer::FabricOptimizer(std::shared_ptr<torch::optim::Optimizer> optimizer,
                                 std::shared_ptr<Strategy> strategy,
                                 std::shared_ptr<GradScaler> scaler)
    : optimizer_(std::move(optimizer)), strategy_(std::move(strategy)), scaler_(std::move(scaler)) {
  FABRIC_CHECK(Misconfiguration,
               !scaler_ || dynamic_cast<torch::optim::LBFGS*>(optimizer_.get()) == nullptr,
               "[fabric.setup_optimizers] LBFGS runs its closure several times a step, which loss ",
               "scaling cannot follow; expected another optimizer under \"16-mixed\". Hint: ",
               "precision \"bf16-mixed\" scales nothing.");
  if (scaler_) {
    scaled_ = scaler_->adopt(*optimizer_);
  }
  strategy_->adopt(*optimizer_);
}

torch::optim::Optimizer& FabricOptimizer::raw() const {
  FABRIC_CHECK(NotLaunched, optimizer_ != nullptr, "[fabric.optimizer] this FabricOptimizer is ",
               "empty. Hint: assign what fabric.setup_optimizers(…) returns before you use it.");
  return *optimizer_;
}

at::Tensor FabricOptimizer::step(torch::optim::Optimizer::LossClosure closure) {
  torch::optim::Optimizer& optimizer = raw();
  if (auto* capture = detail::CaptureScope::current()) {
    capture->use(optimizer, closure != nullptr);
  }
  at::Tensor loss;
  if (scaler_ && closure) {
    const at::AutoGradMode gradients(true);
    loss = closure();
    closure = nullptr;
  }
  strategy_->before_step(optimizer);
  announce_write();
  bool skip = false;
  if (scaler_) {
    scaler_->unscale(optimizer);
    const at::Tensor& found_inf = scaler_->found_inf(optimizer);
    if (auto* aware = dynamic_cast<GradScaleAware*>(&optimizer)) {
      aware->set_grad_scale(/*grad_scale=*/{}, found_inf);  // leaves the step out on the device
    } else {
      skip = found_inf.item<float>() > 0;  // waits for the device
    }
    scaler_->stepped(optimizer);
  }
  if (!skip) {
    {
      const RoutedScope uses;
      std::optional<c10::impl::ExcludeDispatchKeyGuard> nothing_to_hear;
      if (!closure) {  // a closure runs the model
        nothing_to_hear.emplace(kParameterKey);
      }
      const at::Tensor result = optimizer.step(std::move(closure));
      loss = result.defined() ? result : loss;
    }
    strategy_->after_step(optimizer);
  }
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
  if (scaler_) {
    scaler_->adopt(raw());
  }
  strategy_->adopt(raw());
}

}  // namespace fabric
