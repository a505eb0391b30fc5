// What of a fused optimizer follows from its options and its state alone.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include <torch/optim/serialize.h>

#include <fabric/optim/fused_optimizer.h>
#include <fabric/optim/group_options.h>

namespace fabric {

/// A base of the fused optimizers.
/// @tparam Values the options aggregate. Beside it stand, found by its type:
///         `check_options(const Values&)`, which throws for options that cannot work;
///         `convert_options(const torch::optim::OptimizerOptions&, Values&)` and
///         `convert_state(const Values&, const torch::optim::OptimizerParamState&,
///         FusedParamState&)`, which take over LibTorch's and say whether they could.
/// @tparam State a FusedState
template <class Values, class State>
class TypedFusedOptimizer : public FusedOptimizer {
 public:
  using Options = Values;

  /// @throws MisconfigurationError for options that cannot work, and groups with another's
  explicit TypedFusedOptimizer(std::vector<torch::optim::OptimizerParamGroup> groups,
                               Values defaults = {})
      : FusedOptimizer(std::move(groups), std::make_unique<FusedGroupOptions<Values>>(defaults)) {
    check_options(defaults);
    check_groups();
  }
  explicit TypedFusedOptimizer(std::vector<at::Tensor> parameters, Values defaults = {})
      : TypedFusedOptimizer(std::vector<torch::optim::OptimizerParamGroup>{{std::move(parameters)}},
                            std::move(defaults)) {}

  /// The options of a group. What is changed counts from the next step.
  Values& options(std::size_t group = 0) {
    check_groups();
    return values_of(param_groups_.at(group).options());
  }

  void save(torch::serialize::OutputArchive& archive) const override {
    torch::optim::serialize<State, FusedGroupOptions<Values>>(archive, *this);
  }
  void load(torch::serialize::InputArchive& archive) override {
    check_groups();
    torch::optim::serialize<State, FusedGroupOptions<Values>>(archive, *this);
  }

  std::unique_ptr<FusedParamState> own_state(
      const torch::optim::OptimizerParamState* state) const final {
    auto own = std::make_unique<State>();
    if (state != nullptr && !convert_state(Values{}, *state, *own)) {
      return nullptr;
    }
    return own;
  }

 protected:
  static Values& values_of(torch::optim::OptimizerOptions& options) {
    return static_cast<FusedGroupOptions<Values>&>(options).values;
  }
  static const Values& values_of(const torch::optim::OptimizerOptions& options) {
    return static_cast<const FusedGroupOptions<Values>&>(options).values;
  }

  void check_own_options(const torch::optim::OptimizerOptions& options) const final {
    check_options(values_of(options));
  }
  std::unique_ptr<torch::optim::OptimizerOptions> own_options(
      const torch::optim::OptimizerOptions& options) const final {
    Values values = values_of(*defaults_);
    return convert_options(options, values) ? std::make_unique<FusedGroupOptions<Values>>(values)
                                            : nullptr;
  }
  LearningRate learning_rate(const torch::optim::OptimizerOptions& options) const final {
    const Values& values = values_of(options);
    if (values.lr_tensor.defined() && !values.lr_tensor.is_cpu()) {
      return {values.lr, values.lr_tensor};
    }
    return {options.get_lr(), {}};
  }
  at::Tensor lr_tensor(const torch::optim::OptimizerOptions& options) const final {
    return values_of(options).lr_tensor;
  }
};

}  // namespace fabric
