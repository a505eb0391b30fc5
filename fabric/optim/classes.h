// Optimizers and schedules by name: `--optimizer=SGD --optimizer.lr=0.1`.
//
//     struct Config {
//       fabric::Class<torch::optim::Optimizer> optimizer = "AdamW";
//       fabric::Class<fabric::Curve> schedule = fabric::CosineAnnealingLR{.steps = 1000};
//     };
//     int main(int argc, char** argv) {
//       fabric::register_optimizers();
//       fabric::register_schedules();
//       …
//       auto optimizer = fabric.setup_optimizers(config->optimizer.make(model->parameters()));
//       fabric::Schedule schedule(optimizer, config->schedule.make());
#pragma once

#include <array>
#include <tuple>
#include <vector>

#include <torch/optim/optimizer.h>

#include <fabric/config/classes/class.h>
#include <fabric/config/external_options.h>
#include <fabric/optim/curves.h>

namespace fabric {
struct FusedAdamOptions;
struct FusedAdamWOptions;
struct FusedSGDOptions;
struct FusedAdagradOptions;
struct LionOptions;
}  // namespace fabric

namespace fabric::config::detail {

// The options of fused optimizers have a tensor too, which no text stands for.
template <>
struct ExternalOptions<FusedAdamOptions> {
  static std::vector<Field> fields();
};
template <>
struct ExternalOptions<FusedAdamWOptions> {
  static std::vector<Field> fields();
};
template <>
struct ExternalOptions<FusedSGDOptions> {
  static std::vector<Field> fields();
};
template <>
struct ExternalOptions<FusedAdagradOptions> {
  static std::vector<Field> fields();
};
template <>
struct ExternalOptions<LionOptions> {
  static std::vector<Field> fields();
};

}  // namespace fabric::config::detail

/// Optimizers are made from the parameters: `make(model->parameters())`.
template <>
struct fabric::Construct<torch::optim::Optimizer> {
  using Args = std::tuple<std::vector<at::Tensor>>;
};

/// A curve is a value.
template <>
struct fabric::Construct<fabric::Curve> {
  using Args = std::tuple<>;
  using Product = Curve;
};

namespace fabric {

/// The options of LibTorch's optimizers, with its defaults, as plain structs; a test compares them.
struct AdamConfig {
  double lr = 1e-3;
  std::array<double, 2> betas{0.9, 0.999};
  FABRIC_HELP(betas, "what the averages of gradients and of their squares keep at a step")
  double eps = 1e-8;
  FABRIC_HELP(eps, "added to the root that divides")
  double weight_decay = 0;
  FABRIC_HELP(weight_decay, "times the parameter, added to the gradient")
  bool amsgrad = false;
  FABRIC_HELP(amsgrad, "divides by the largest average of squares so far")
};
struct AdamWConfig {
  double lr = 1e-3;
  std::array<double, 2> betas{0.9, 0.999};
  FABRIC_HELP(betas, "what the averages of gradients and of their squares keep at a step")
  double eps = 1e-8;
  FABRIC_HELP(eps, "added to the root that divides")
  double weight_decay = 1e-2;
  FABRIC_HELP(weight_decay, "parameters shrink by lr · weight_decay at a step")
  bool amsgrad = false;
  FABRIC_HELP(amsgrad, "divides by the largest average of squares so far")
};
/// LibTorch has no default for the rate; this is Python's.
struct SGDConfig {
  double lr = 1e-3;
  double momentum = 0;
  double dampening = 0;
  FABRIC_HELP(dampening, "the part of a gradient that the momentum does not take")
  double weight_decay = 0;
  FABRIC_HELP(weight_decay, "times the parameter, added to the gradient")
  bool nesterov = false;
  FABRIC_HELP(nesterov, "looks ahead; needs a momentum and no dampening")
};
struct RMSpropConfig {
  double lr = 1e-2;
  double alpha = 0.99;
  FABRIC_HELP(alpha, "what the average of squares keeps at a step")
  double eps = 1e-8;
  FABRIC_HELP(eps, "added to the root that divides")
  double weight_decay = 0;
  FABRIC_HELP(weight_decay, "times the parameter, added to the gradient")
  double momentum = 0;
  bool centered = false;
  FABRIC_HELP(centered, "divides by the deviation in place of the root of squares")
};
struct AdagradConfig {
  double lr = 1e-2;
  double lr_decay = 0;
  FABRIC_HELP(lr_decay, "how fast the rate falls: lr / (1 + steps · lr_decay)")
  double weight_decay = 0;
  FABRIC_HELP(weight_decay, "times the parameter, added to the gradient")
  double initial_accumulator_value = 0;
  FABRIC_HELP(initial_accumulator_value, "of the sum of squares")
  double eps = 1e-10;
  FABRIC_HELP(eps, "added to the root that divides")
};

/// Registers LibTorch's Adam, AdamW, SGD, RMSprop and Adagrad, and FusedAdam, FusedAdamW, FusedSGD,
/// FusedAdagrad and Lion, for `Class<torch::optim::Optimizer>`. Called at the begin of main; a
/// second call does nothing.
void register_optimizers();

/// Registers the shapes of curves.h that numbers alone describe, for `Class<fabric::Curve>`:
/// ConstantLR, LinearLR, PolynomialLR, ExponentialLR, StepLR, MultiStepLR, CosineAnnealingLR,
/// CosineAnnealingWarmRestarts and OneCycleLR.
void register_schedules();

}  // namespace fabric
