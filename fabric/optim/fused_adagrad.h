// Adagrad in one pass over the parameters.
#pragma once

#include <fabric/optim/typed_optimizer.h>

namespace fabric {

/// Options of FusedAdagrad, with Python's names and defaults.
struct FusedAdagradOptions {
  double lr = 1e-2;
  double lr_decay = 0;
  double weight_decay = 0;  ///< added to the gradient
  double initial_accumulator_value = 0;
  double eps = 1e-10;
  bool maximize = false;
  at::Tensor lr_tensor = {};  ///< one element, read at each step on its device; replaces `lr`
};

inline constexpr StateLayout kAdagradLayout{{"sum"}, 1, true};
using FusedAdagradState = FusedState<kAdagradLayout>;

/// @throws MisconfigurationError
void check_options(const FusedAdagradOptions& options);
/// Take over those of torch::optim::Adagrad; whether they are such.
bool convert_options(const torch::optim::OptimizerOptions& from, FusedAdagradOptions& to);
bool convert_state(const FusedAdagradOptions&, const torch::optim::OptimizerParamState& from,
                   FusedParamState& to);

/// Adagrad, with the results of Python's torch.optim.Adagrad. State is made by the first step.
///
///     fabric::FusedAdagrad optimizer(net->parameters(), {.lr = 0.01});
class FusedAdagrad final : public TypedFusedOptimizer<FusedAdagradOptions, FusedAdagradState> {
 public:
  using TypedFusedOptimizer::TypedFusedOptimizer;

 protected:
  detail::StateNeeds needs(const torch::optim::OptimizerOptions& options) const override;
  void update_spans(const detail::GroupStep& group, const detail::Run& run) const override;
  void update_lists(const detail::GroupStep& group, const detail::Run& run) const override;
};

}  // namespace fabric
