// Lion: one state instead of Adam's two, updates of one size.
#pragma once

#include <utility>

#include <fabric/optim/typed_optimizer.h>

namespace fabric {

/// Options of Lion. The authors take a learning rate 3 to 10 times smaller than AdamW's and a
/// weight decay as many times larger.
struct LionOptions {
  double lr = 1e-4;
  std::pair<double, double> betas = {0.9, 0.99};
  double weight_decay = 0;  ///< parameters shrink by lr · weight_decay
  bool maximize = false;
  at::Tensor lr_tensor = {};  ///< one element, read at each step on its device; replaces `lr`
};

inline constexpr StateLayout kLionLayout{{"exp_avg"}, 1, /*counts_steps=*/false};
using LionState = FusedState<kLionLayout>;

/// @throws MisconfigurationError
void check_options(const LionOptions& options);
/// LibTorch has no Lion: false.
bool convert_options(const torch::optim::OptimizerOptions& from, LionOptions& to);
bool convert_state(const LionOptions&, const torch::optim::OptimizerParamState& from,
                   FusedParamState& to);

/// Lion, algorithm 2 of X. Chen et al.: Symbolic discovery of optimization algorithms, 2023,
/// arXiv 2302.06675.
///
///     fabric::Lion optimizer(net->parameters(), {.lr = 1e-4, .weight_decay = 1});
class Lion final : public TypedFusedOptimizer<LionOptions, LionState> {
 public:
  using TypedFusedOptimizer::TypedFusedOptimizer;

 protected:
  detail::StateNeeds needs(const torch::optim::OptimizerOptions& options) const override;
  void update_spans(const detail::GroupStep& group, const detail::Run& run) const override;
  void update_lists(const detail::GroupStep& group, const detail::Run& run) const override;
};

}  // namespace fabric
