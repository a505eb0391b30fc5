#include <fabric/optim/lion.h>

#include <ATen/ATen.h>

namespace fabric {

void check_options(const LionOptions& options) {
  detail::check_not_negative(options.lr, "the learning rate");
  detail::check_betas(options.betas);
  detail::check_not_negative(options.weight_decay, "the weight decay");
}

bool convert_options(const torch::optim::OptimizerOptions&, LionOptions&) {
  return false;
}

bool convert_state(const LionOptions&, const torch::optim::OptimizerParamState&, FusedParamState&) {
  return false;
}

detail::StateNeeds Lion::needs(const torch::optim::OptimizerOptions&) const {
  return {.tensors = {true, false, false}};
}

void Lion::update_spans(const detail::GroupStep& group, const detail::Run& run) const {
  const LionOptions& options = values_of(*group.options);
  kernels::lion(run.real(), run.spans,
                {.gradient_scale = options.maximize ? -group.gradient_scale : group.gradient_scale,
                 .keep = 1 - group.lr * options.weight_decay,
                 .beta1 = options.betas.first,
                 .beta2 = options.betas.second,
                 .lr = group.lr});
}

// ATen has no fused Lion: lists of tensors, and nothing read on the host.
void Lion::update_lists(const detail::GroupStep& group, const detail::Run& run) const {
  const LionOptions& options = values_of(*group.options);
  const auto [beta1, beta2] = options.betas;
  std::vector<at::Tensor> gradients = run.gradients;
  if (group.grad_scale.defined()) {
    gradients = at::_foreach_div(gradients, group.grad_scale);
  }
  if (options.maximize) {
    gradients = at::_foreach_neg(gradients);
  }
  // Where the update is to be skipped: nothing is learned, and not-a-numbers do not get in.
  at::Tensor skip;
  if (group.found_inf.defined()) {
    skip = group.found_inf.to(at::kBool);
    for (at::Tensor& gradient : gradients) {
      gradient = at::where(skip, at::zeros({}, gradient.options()), gradient);
    }
  }
  auto directions = at::_foreach_mul(run.states[0], beta1);
  at::_foreach_add_(directions, gradients, 1 - beta1);
  at::_foreach_sign_(directions);
  if (!skip.defined() && !group.lr_tensor.defined()) {
    at::_foreach_mul_(run.parameters, 1 - group.lr * options.weight_decay);
    at::_foreach_add_(run.parameters, directions, -group.lr);
    at::_foreach_mul_(run.states[0], beta2);
    at::_foreach_add_(run.states[0], gradients, 1 - beta2);
    return;
  }
  at::Tensor lr = group.lr_tensor.defined() ? group.lr_tensor
                                            : at::full({}, group.lr, run.gradients[0].options());
  at::Tensor kept = at::full({}, beta2, lr.options());
  at::Tensor added = at::full({}, 1 - beta2, lr.options());
  if (skip.defined()) {
    lr = at::where(skip, at::zeros_like(lr), lr);
    kept = at::where(skip, at::ones_like(kept), kept);
    added = at::where(skip, at::zeros_like(added), added);
  }
  for (std::size_t i = 0; i < run.parameters.size(); ++i) {
    run.parameters[i].mul_(1 - lr * options.weight_decay).sub_(directions[i] * lr);
    run.states[0][i].mul_(kept).add_(gradients[i] * added);
  }
}

}  // namespace fabric
