#include <fabric/optim/fused_adagrad.h>

#include <ATen/ATen.h>
#include <torch/optim/adagrad.h>

namespace fabric {

void check_options(const FusedAdagradOptions& options) {
  detail::check_not_negative(options.lr, "the learning rate");
  detail::check_not_negative(options.lr_decay, "lr_decay");
  detail::check_not_negative(options.weight_decay, "the weight decay");
  detail::check_not_negative(options.initial_accumulator_value, "initial_accumulator_value");
  detail::check_not_negative(options.eps, "eps");
}

bool convert_options(const torch::optim::OptimizerOptions& from, FusedAdagradOptions& to) {
  const auto* options = dynamic_cast<const torch::optim::AdagradOptions*>(&from);
  if (options == nullptr) {
    return false;
  }
  to = {.lr = options->lr(),
        .lr_decay = options->lr_decay(),
        .weight_decay = options->weight_decay(),
        .initial_accumulator_value = options->initial_accumulator_value(),
        .eps = options->eps()};
  return true;
}

bool convert_state(const FusedAdagradOptions&, const torch::optim::OptimizerParamState& from,
                   FusedParamState& to) {
  const auto* state = dynamic_cast<const torch::optim::AdagradParamState*>(&from);
  if (state != nullptr) {
    to.set_step(state->step());
    to.tensors[0] = state->sum();
  }
  return state != nullptr;
}

detail::StateNeeds FusedAdagrad::needs(const torch::optim::OptimizerOptions& options) const {
  return {.tensors = {true, false, false}, .initial = values_of(options).initial_accumulator_value};
}

void FusedAdagrad::update_spans(const detail::GroupStep& group, const detail::Run& run) const {
  const FusedAdagradOptions& options = values_of(*group.options);
  const double before = static_cast<double>(run.step - 1);
  kernels::adagrad(
      run.real(), run.spans,
      {.gradient_scale = options.maximize ? -group.gradient_scale : group.gradient_scale,
       .l2 = options.weight_decay,
       .lr = group.lr / (1 + before * options.lr_decay),
       .eps = options.eps});
}

void FusedAdagrad::update_lists(const detail::GroupStep& group, const detail::Run& run) const {
  const FusedAdagradOptions& options = values_of(*group.options);
  const auto call = [&](const auto& lr) {
    at::_fused_adagrad_(run.parameters, run.gradients, run.states[0], run.steps, lr,
                        options.lr_decay, options.weight_decay, options.eps, options.maximize,
                        detail::optional(group.grad_scale), detail::optional(group.found_inf));
  };
  group.lr_tensor.defined() ? call(group.lr_tensor) : call(group.lr);
}

}  // namespace fabric
