// What the optimizers that are known by name consist of, under the names of Python's state
// dictionaries.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <torch/optim/optimizer.h>

#include <fabric/checkpoint/state_value.h>

namespace fabric::detail {

/// Options and per-parameter state of one class of optimizers.
class OptimizerFields {
 public:
  using ParamState = torch::optim::OptimizerParamState;
  using Options = torch::optim::OptimizerOptions;
  using TensorVisitor = std::function<void(const char* name, at::Tensor& tensor)>;

  virtual ~OptimizerFields() = default;

  /// A group's options: those that the class has, and those that Python's of the same name wants.
  virtual StateDict options(const Options& options) const = 0;
  /// Sets those that are there; others keep their values.
  /// @throws CheckpointError for values of another type, and for what this class does not do
  virtual void set_options(Options& options, const StateDict& from) const = 0;

  /// State without tensors.
  virtual std::unique_ptr<ParamState> make_state() const = 0;
  /// The tensors that have an element for each of the parameter, undefined ones too.
  virtual void visit_tensors(ParamState& state, const TensorVisitor& visit) const = 0;
  /// The updates so far; −1 for optimizers that do not count.
  virtual std::int64_t step(const ParamState& state) const = 0;
  virtual void set_step(ParamState& state, std::int64_t step) const = 0;

  /// What the state has besides, of optimizers that look at all parameters together.
  virtual StateDict others(const ParamState& /*state*/) const { return {}; }
  /// @throws CheckpointError for what is missing, or of another type
  virtual void set_others(ParamState& /*state*/, const StateDict& /*from*/) const {}
};

/// Null for a class that is not known here: it is saved by its own archives.
std::shared_ptr<const OptimizerFields> optimizer_fields(torch::optim::Optimizer& optimizer);

}  // namespace fabric::detail
