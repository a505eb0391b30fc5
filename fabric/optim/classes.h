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
  double eps = 1e-8;
  double weight_decay = 0;
  bool amsgrad = false;
};
struct AdamWConfig {
  double lr = 1e-3;
  std::array<double, 2> betas{0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 1e-2;
  bool amsgrad = false;
};
/// LibTorch has no default for the rate; this is Python's.
struct SGDConfig {
  double lr = 1e-3;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
};
struct RMSpropConfig {
  double lr = 1e-2;
  double alpha = 0.99;
  double eps = 1e-8;
  double weight_decay = 0;
  double momentum = 0;
  bool centered = false;
};
struct AdagradConfig {
  double lr = 1e-2;
  double lr_decay = 0;
  double weight_decay = 0;
  double initial_accumulator_value = 0;
  double eps = 1e-10;
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
