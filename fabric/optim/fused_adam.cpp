#include <fabric/optim/fused_adam.h>

#include <cmath>
#include <type_traits>

#include <ATen/ATen.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>

namespace fabric {
namespace {

template <class Values>
void check_adam(const Values& options) {
  detail::check_not_negative(options.lr, "the learning rate");
  detail::check_not_negative(options.eps, "eps");
  detail::check_betas(options.betas);
  detail::check_not_negative(options.weight_decay, "the weight decay");
}

template <class LibTorchOptions, class Values>
bool convert_adam(const torch::optim::OptimizerOptions& from, Values& to) {
  const auto* options = dynamic_cast<const LibTorchOptions*>(&from);
  if (options == nullptr) {
    return false;
  }
  to = Values{};
  to.lr = options->lr();
  to.betas = {std::get<0>(options->betas()), std::get<1>(options->betas())};
  to.eps = options->eps();
  to.weight_decay = options->weight_decay();
  to.amsgrad = options->amsgrad();
  return true;
}

template <class LibTorchState>
bool convert_adam_state(const torch::optim::OptimizerParamState& from, FusedParamState& to) {
  const auto* state = dynamic_cast<const LibTorchState*>(&from);
  if (state != nullptr) {
    to.set_step(state->step());
    to.tensors = {state->exp_avg(), state->exp_avg_sq(), state->max_exp_avg_sq()};
  }
  return state != nullptr;
}

bool either_state(const torch::optim::OptimizerParamState& from, FusedParamState& to) {
  return convert_adam_state<torch::optim::AdamParamState>(from, to) ||
         convert_adam_state<torch::optim::AdamWParamState>(from, to);
}

}  // namespace

void check_options(const FusedAdamOptions& options) {
  check_adam(options);
}

void check_options(const FusedAdamWOptions& options) {
  check_adam(options);
}

bool convert_options(const torch::optim::OptimizerOptions& from, FusedAdamOptions& to) {
  return convert_adam<torch::optim::AdamOptions>(from, to);
}

bool convert_options(const torch::optim::OptimizerOptions& from, FusedAdamWOptions& to) {
  return convert_adam<torch::optim::AdamWOptions>(from, to);
}

bool convert_state(const FusedAdamOptions&, const torch::optim::OptimizerParamState& from,
                   FusedParamState& to) {
  return either_state(from, to);
}

bool convert_state(const FusedAdamWOptions&, const torch::optim::OptimizerParamState& from,
                   FusedParamState& to) {
  return either_state(from, to);
}

namespace detail {

template <class Values>
StateNeeds FusedAdamOf<Values>::needs(const torch::optim::OptimizerOptions& options) const {
  return {.tensors = {true, true, this->values_of(options).amsgrad}};
}

template <class Values>
void FusedAdamOf<Values>::update_spans(const GroupStep& group, const Run& run) const {
  constexpr bool kDecoupled = std::is_same_v<Values, FusedAdamWOptions>;
  const Values& options = this->values_of(*group.options);
  const auto [beta1, beta2] = options.betas;
  const auto step = static_cast<double>(run.step);
  kernels::adam(run.real(), run.spans,
                {.gradient_scale = options.maximize ? -group.gradient_scale : group.gradient_scale,
                 .l2 = kDecoupled ? 0 : options.weight_decay,
                 .keep = kDecoupled ? 1 - group.lr * options.weight_decay : 1,
                 .beta1 = beta1,
                 .beta2 = beta2,
                 .step_size = group.lr / (1 - std::pow(beta1, step)),
                 .root_scale = 1 / std::sqrt(1 - std::pow(beta2, step)),
                 .eps = options.eps,
                 .amsgrad = options.amsgrad});
}

template <class Values>
void FusedAdamOf<Values>::update_lists(const GroupStep& group, const Run& run) const {
  const Values& options = this->values_of(*group.options);
  const auto call = [&](const auto& lr) {
    const auto update = [&](auto function) {
      function(run.parameters, run.gradients, run.states[0], run.states[1], run.states[2],
               run.steps, lr, options.betas.first, options.betas.second, options.weight_decay,
               options.eps, options.amsgrad, options.maximize, optional(group.grad_scale),
               optional(group.found_inf));
    };
    if constexpr (std::is_same_v<Values, FusedAdamWOptions>) {
      update([](auto&&... arguments) { at::_fused_adamw_(arguments...); });
    } else {
      update([](auto&&... arguments) { at::_fused_adam_(arguments...); });
    }
  };
  group.lr_tensor.defined() ? call(group.lr_tensor) : call(group.lr);
}

template class FusedAdamOf<FusedAdamOptions>;
template class FusedAdamOf<FusedAdamWOptions>;

}  // namespace detail
}  // namespace fabric
