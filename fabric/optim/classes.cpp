#include <fabric/optim/classes.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include <fabric/optim/optimizers.h>

namespace fabric {

namespace config {
namespace {

constexpr FieldHelp kBetas{"betas",
                           "what the averages of gradients and of their squares keep at a step"};
constexpr FieldHelp kEps{"eps", "added to the root that divides"};
constexpr FieldHelp kCoupledDecay{"weight_decay", "times the parameter, added to the gradient"};
constexpr FieldHelp kDecoupledDecay{"weight_decay",
                                    "parameters shrink by lr · weight_decay at a step"};
constexpr FieldHelp kAmsgrad{"amsgrad", "divides by the largest average of squares so far"};
constexpr FieldHelp kMaximize{"maximize", "goes up the gradient"};

}  // namespace

template <>
struct Help<FusedAdamOptions> {
  static constexpr FieldHelp fields[] = {kBetas, kEps, kCoupledDecay, kAmsgrad, kMaximize};
};
template <>
struct Help<FusedAdamWOptions> {
  static constexpr FieldHelp fields[] = {kBetas, kEps, kDecoupledDecay, kAmsgrad, kMaximize};
};
template <>
struct Help<FusedSGDOptions> {
  static constexpr FieldHelp fields[] = {
      {"dampening", "the part of a gradient that the momentum does not take"},
      kCoupledDecay,
      {"nesterov", "looks ahead; needs a momentum and no dampening"},
      kMaximize};
};
template <>
struct Help<FusedAdagradOptions> {
  static constexpr FieldHelp fields[] = {
      {"lr_decay", "how fast the rate falls: lr / (1 + steps · lr_decay)"},
      kCoupledDecay,
      {"initial_accumulator_value", "of the sum of squares"},
      kEps,
      kMaximize};
};
template <>
struct Help<LionOptions> {
  static constexpr FieldHelp fields[] = {
      {"betas", "what the update, and the average of gradients, keep of that average at a step"},
      kDecoupledDecay,
      kMaximize};
};

}  // namespace config

namespace config::detail {
namespace {

template <class Member>
struct MemberOf;
template <class Value_, class Options_>
struct MemberOf<Value_ Options_::*> {
  using Value = Value_;
  using Options = Options_;
};

// An option that is a data member.
template <auto member>
Field field(std::string_view name) {
  using Options = typename MemberOf<decltype(member)>::Options;
  using Value = typename MemberOf<decltype(member)>::Value;
  return external_field<Options, Value,
                        [](const Options& options) -> Value { return options.*member; },
                        [](Options& options, Value value) { options.*member = std::move(value); }>(
      name);
}

template <class Options>
std::vector<Field> adam_fields() {
  return {field<&Options::lr>("lr"),           field<&Options::betas>("betas"),
          field<&Options::eps>("eps"),         field<&Options::weight_decay>("weight_decay"),
          field<&Options::amsgrad>("amsgrad"), field<&Options::maximize>("maximize")};
}

}  // namespace

std::vector<Field> ExternalOptions<FusedAdamOptions>::fields() {
  return adam_fields<FusedAdamOptions>();
}

std::vector<Field> ExternalOptions<FusedAdamWOptions>::fields() {
  return adam_fields<FusedAdamWOptions>();
}

std::vector<Field> ExternalOptions<FusedSGDOptions>::fields() {
  using Options = FusedSGDOptions;
  return {field<&Options::lr>("lr"),
          field<&Options::momentum>("momentum"),
          field<&Options::dampening>("dampening"),
          field<&Options::weight_decay>("weight_decay"),
          field<&Options::nesterov>("nesterov"),
          field<&Options::maximize>("maximize")};
}

std::vector<Field> ExternalOptions<FusedAdagradOptions>::fields() {
  using Options = FusedAdagradOptions;
  return {field<&Options::lr>("lr"),
          field<&Options::lr_decay>("lr_decay"),
          field<&Options::weight_decay>("weight_decay"),
          field<&Options::initial_accumulator_value>("initial_accumulator_value"),
          field<&Options::eps>("eps"),
          field<&Options::maximize>("maximize")};
}

std::vector<Field> ExternalOptions<LionOptions>::fields() {
  using Options = LionOptions;
  return {field<&Options::lr>("lr"), field<&Options::betas>("betas"),
          field<&Options::weight_decay>("weight_decay"), field<&Options::maximize>("maximize")};
}

}  // namespace config::detail

namespace {

using Optimizer = torch::optim::Optimizer;
using Parameters = std::vector<at::Tensor>;

template <class Fused, class Options>
void register_fused(const char* name) {
  register_factory<Optimizer>(name, [](const Options& options, Parameters parameters) {
    return std::make_shared<Fused>(std::move(parameters), options);
  });
}

template <class Shape>
void register_shape(const char* name) {
  register_factory<Curve>(name, [](const Shape& shape) { return Curve(shape); });
}

void register_all_optimizers() {
  register_factory<Optimizer>("Adam", [](const AdamConfig& config, Parameters parameters) {
    return std::make_shared<torch::optim::Adam>(std::move(parameters),
                                                torch::optim::AdamOptions(config.lr)
                                                    .betas({config.betas[0], config.betas[1]})
                                                    .eps(config.eps)
                                                    .weight_decay(config.weight_decay)
                                                    .amsgrad(config.amsgrad));
  });
  register_factory<Optimizer>("AdamW", [](const AdamWConfig& config, Parameters parameters) {
    return std::make_shared<torch::optim::AdamW>(std::move(parameters),
                                                 torch::optim::AdamWOptions(config.lr)
                                                     .betas({config.betas[0], config.betas[1]})
                                                     .eps(config.eps)
                                                     .weight_decay(config.weight_decay)
                                                     .amsgrad(config.amsgrad));
  });
  register_factory<Optimizer>("SGD", [](const SGDConfig& config, Parameters parameters) {
    return std::make_shared<torch::optim::SGD>(std::move(parameters),
                                               torch::optim::SGDOptions(config.lr)
                                                   .momentum(config.momentum)
                                                   .dampening(config.dampening)
                                                   .weight_decay(config.weight_decay)
                                                   .nesterov(config.nesterov));
  });
  register_factory<Optimizer>("RMSprop", [](const RMSpropConfig& config, Parameters parameters) {
    return std::make_shared<torch::optim::RMSprop>(std::move(parameters),
                                                   torch::optim::RMSpropOptions(config.lr)
                                                       .alpha(config.alpha)
                                                       .eps(config.eps)
                                                       .weight_decay(config.weight_decay)
                                                       .momentum(config.momentum)
                                                       .centered(config.centered));
  });
  register_factory<Optimizer>("Adagrad", [](const AdagradConfig& config, Parameters parameters) {
    return std::make_shared<torch::optim::Adagrad>(
        std::move(parameters), torch::optim::AdagradOptions(config.lr)
                                   .lr_decay(config.lr_decay)
                                   .weight_decay(config.weight_decay)
                                   .initial_accumulator_value(config.initial_accumulator_value)
                                   .eps(config.eps));
  });
  register_fused<FusedAdam, FusedAdamOptions>("FusedAdam");
  register_fused<FusedAdamW, FusedAdamWOptions>("FusedAdamW");
  register_fused<FusedSGD, FusedSGDOptions>("FusedSGD");
  register_fused<FusedAdagrad, FusedAdagradOptions>("FusedAdagrad");
  register_fused<Lion, LionOptions>("Lion");
}

void register_all_schedules() {
  register_shape<ConstantLR>("ConstantLR");
  register_shape<LinearLR>("LinearLR");
  register_shape<PolynomialLR>("PolynomialLR");
  register_shape<ExponentialLR>("ExponentialLR");
  register_shape<StepLR>("StepLR");
  register_shape<MultiStepLR>("MultiStepLR");
  register_shape<CosineAnnealingLR>("CosineAnnealingLR");
  register_shape<CosineAnnealingWarmRestarts>("CosineAnnealingWarmRestarts");
  register_shape<OneCycleLR>("OneCycleLR");
}

}  // namespace

void register_optimizers() {
  static const bool once = (register_all_optimizers(), true);
  static_cast<void>(once);
}

void register_schedules() {
  static const bool once = (register_all_schedules(), true);
  static_cast<void>(once);
}

}  // namespace fabric
