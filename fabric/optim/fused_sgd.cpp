#include <fabric/optim/fused_sgd.h>

#include <ATen/ATen.h>
#include <torch/optim/sgd.h>

#include <accelerators/error.h>

namespace fabric {

void check_options(const FusedSGDOptions& options) {
  detail::check_not_negative(options.lr, "the learning rate");
  detail::check_not_negative(options.momentum, "the momentum");
  detail::check_not_negative(options.weight_decay, "the weight decay");
  FABRIC_CHECK(Misconfiguration,
               !options.nesterov || (options.momentum > 0 && options.dampening == 0),
               "[fabric.optimizer] Nesterov momentum needs a momentum and no dampening; got ",
               "momentum ", options.momentum, ", dampening ", options.dampening);
}

bool convert_options(const torch::optim::OptimizerOptions& from, FusedSGDOptions& to) {
  const auto* options = dynamic_cast<const torch::optim::SGDOptions*>(&from);
  if (options == nullptr) {
    return false;
  }
  to = {.lr = options->lr(),
        .momentum = options->momentum(),
        .dampening = options->dampening(),
        .weight_decay = options->weight_decay(),
        .nesterov = options->nesterov()};
  return true;
}

bool convert_state(const FusedSGDOptions&, const torch::optim::OptimizerParamState& from,
                   FusedParamState& to) {
  const auto* state = dynamic_cast<const torch::optim::SGDParamState*>(&from);
  if (state != nullptr) {
    to.tensors[0] = state->momentum_buffer();
  }
  return state != nullptr;
}

detail::StateNeeds FusedSGD::needs(const torch::optim::OptimizerOptions& options) const {
  const FusedSGDOptions& values = values_of(options);
  // Without dampening the first buffer, 0 · momentum + g, is g by itself.
  return {.tensors = {values.momentum != 0, false, false}, .first_differs = values.dampening != 0};
}

void FusedSGD::update_spans(const detail::GroupStep& group, const detail::Run& run) const {
  const FusedSGDOptions& options = values_of(*group.options);
  kernels::sgd(run.real(), run.spans,
               {.gradient_scale = options.maximize ? -group.gradient_scale : group.gradient_scale,
                .l2 = options.weight_decay,
                .momentum = options.momentum,
                .dampening = options.dampening,
                .lr = group.lr,
                .nesterov = options.nesterov,
                .first = run.first});
}

void FusedSGD::update_lists(const detail::GroupStep& group, const detail::Run& run) const {
  const FusedSGDOptions& options = values_of(*group.options);
  const auto call = [&](const auto& lr) {
    at::_fused_sgd_(run.parameters, run.gradients, run.states[0], options.weight_decay,
                    options.momentum, lr, options.dampening, options.nesterov, options.maximize,
                    run.first, detail::optional(group.grad_scale),
                    detail::optional(group.found_inf));
  };
  group.lr_tensor.defined() ? call(group.lr_tensor) : call(group.lr);
}

}  // namespace fabric
