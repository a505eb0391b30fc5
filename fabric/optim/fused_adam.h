// Adam and AdamW in one pass over the parameters.
#pragma once

#include <utility>

#include <fabric/optim/typed_optimizer.h>

namespace fabric {

/// Options of FusedAdam, with Python's names and defaults.
struct FusedAdamOptions {
  double lr = 1e-3;
  std::pair<double, double> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 0;  ///< added to the gradient
  bool amsgrad = false;
  bool maximize = false;
  at::Tensor lr_tensor = {};  ///< one element, read at each step on its device; replaces `lr`
};

/// Options of FusedAdamW, with Python's names and defaults.
struct FusedAdamWOptions {
  double lr = 1e-3;
  std::pair<double, double> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 1e-2;  ///< parameters shrink by lr · weight_decay
  bool amsgrad = false;
  bool maximize = false;
  at::Tensor lr_tensor = {};  ///< one element, read at each step on its device; replaces `lr`
};

inline constexpr StateLayout kAdamLayout{{"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}, 3, true};
using FusedAdamState = FusedState<kAdamLayout>;

/// @throws MisconfigurationError
void check_options(const FusedAdamOptions& options);
void check_options(const FusedAdamWOptions& options);
/// Take over those of torch::optim::Adam and AdamW; whether they are such.
bool convert_options(const torch::optim::OptimizerOptions& from, FusedAdamOptions& to);
bool convert_options(const torch::optim::OptimizerOptions& from, FusedAdamWOptions& to);
bool convert_state(const FusedAdamOptions&, const torch::optim::OptimizerParamState& from,
                   FusedParamState& to);
bool convert_state(const FusedAdamWOptions&, const torch::optim::OptimizerParamState& from,
                   FusedParamState& to);

namespace detail {

/// Both: they differ in what weight decay does.
template <class Values>
class FusedAdamOf : public TypedFusedOptimizer<Values, FusedAdamState> {
 public:
  using TypedFusedOptimizer<Values, FusedAdamState>::TypedFusedOptimizer;
  std::optional<bool> decoupled_weight_decay() const override {
    return std::is_same_v<Values, FusedAdamWOptions>;
  }

 protected:
  StateNeeds needs(const torch::optim::OptimizerOptions& options) const override;
  void update_spans(const GroupStep& group, const Run& run) const override;
  void update_lists(const GroupStep& group, const Run& run) const override;
};

extern template class FusedAdamOf<FusedAdamOptions>;
extern template class FusedAdamOf<FusedAdamWOptions>;

}  // namespace detail

/// Adam, with the results of Python's torch.optim.Adam.
///
///     fabric::FusedAdam optimizer(net->parameters(), {.lr = 1e-3});
class FusedAdam final : public detail::FusedAdamOf<FusedAdamOptions> {
 public:
  using FusedAdamOf::FusedAdamOf;
};

/// AdamW, with the results of Python's torch.optim.AdamW.
///
///     fabric::FusedAdamW optimizer(net->parameters(), {.lr = 1e-3, .weight_decay = 0.1});
class FusedAdamW final : public detail::FusedAdamOf<FusedAdamWOptions> {
 public:
  using FusedAdamOf::FusedAdamOf;
};

}  // namespace fabric
