// Which parameters weight decay applies to.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <fabric/optim/fused_adam.h>

namespace fabric {

/// Says of a parameter, by its dotted name, whether it decays.
using DecayMask = std::function<bool(const std::string& name, const at::Tensor& parameter)>;

/// The usual choice: what has two dimensions or more. Biases and the weights of norms do not decay.
bool decays_by_dimension(const std::string& name, const at::Tensor& parameter);

namespace detail {

/// Parameters in the order of the model: those that decay, and the others.
std::pair<std::vector<at::Tensor>, std::vector<at::Tensor>> split_by(
    const DecayMask& decays, const std::vector<NamedTensor>& parameters);

template <class Module>
std::vector<NamedTensor> named_parameters_of(const Module& module) {
  if constexpr (requires { module->named_parameters(); }) {
    return named_parameters_of(*module);
  } else if constexpr (requires { module.module(); }) {
    return named_parameters_of(module.module());
  } else {
    std::vector<NamedTensor> named;
    for (const auto& item : module.named_parameters()) {
      if constexpr (requires { item.key(); }) {
        named.push_back({item.key(), item.value()});
      } else {
        named.push_back({item.name, item.value});  // TorchScript
      }
    }
    return named;
  }
}

}  // namespace detail

/// Two groups of the parameters of a module: those that decay, and the others with a weight decay
/// of 0. An empty group is left out.
///
///     fabric::FusedAdamW optimizer(fabric::decay_groups(net, {.weight_decay = 0.1}));
///     fabric::Lion optimizer(fabric::decay_groups(net, fabric::LionOptions{.weight_decay = 1},
///         [](const std::string& name, const auto&) { return name != "embedding.weight"; }));
///
/// @param module a module, a pointer to one, a holder, a FabricModule, a TorchScript module
template <class Options, class Module>
std::vector<torch::optim::OptimizerParamGroup> decay_groups(
    const Module& module, Options options, const DecayMask& decays = decays_by_dimension) {
  auto [with, without] = detail::split_by(decays, detail::named_parameters_of(module));
  std::vector<torch::optim::OptimizerParamGroup> groups;
  if (!with.empty()) {
    groups.push_back(parameter_group(std::move(with), options));
  }
  options.weight_decay = 0;
  if (!without.empty()) {
    groups.push_back(parameter_group(std::move(without), options));
  }
  return groups;
}
/// The same for AdamW, so that braces do.
template <class Module>
std::vector<torch::optim::OptimizerParamGroup> decay_groups(
    const Module& module, FusedAdamWOptions options,
    const DecayMask& decays = decays_by_dimension) {
  return decay_groups<FusedAdamWOptions, Module>(module, std::move(options), decays);
}

}  // namespace fabric
