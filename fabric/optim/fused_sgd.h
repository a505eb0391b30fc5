// SGD with momentum in one pass over the parameters.
#pragma once

#include <fabric/optim/typed_optimizer.h>

namespace fabric {

/// Options of FusedSGD, with Python's names and defaults.
struct FusedSGDOptions {
  double lr = 1e-3;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;  ///< added to the gradient
  bool nesterov = false;    ///< needs a momentum and no dampening
  bool maximize = false;
  at::Tensor lr_tensor = {};  ///< one element, read at each step on its device; replaces `lr`
};

inline constexpr StateLayout kSGDLayout{{"momentum_buffer"}, 1, /*counts_steps=*/false};
using FusedSGDState = FusedState<kSGDLayout>;

/// @throws MisconfigurationError
void check_options(const FusedSGDOptions& options);
/// Take over those of torch::optim::SGD; whether they are such.
bool convert_options(const torch::optim::OptimizerOptions& from, FusedSGDOptions& to);
bool convert_state(const FusedSGDOptions&, const torch::optim::OptimizerParamState& from,
                   FusedParamState& to);

/// SGD, with the results of Python's torch.optim.SGD.
///
///     fabric::FusedSGD optimizer(net->parameters(), {.lr = 0.1, .momentum = 0.9});
class FusedSGD final : public TypedFusedOptimizer<FusedSGDOptions, FusedSGDState> {
 public:
  using TypedFusedOptimizer::TypedFusedOptimizer;

 protected:
  detail::StateNeeds needs(const torch::optim::OptimizerOptions& options) const override;
  void update_spans(const detail::GroupStep& group, const detail::Run& run) const override;
  void update_lists(const detail::GroupStep& group, const detail::Run& run) const override;
};

}  // namespace fabric
