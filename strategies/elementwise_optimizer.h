// How an optimizer of the user's own says that it may work on parts of parameters, and how its
// state shows its tensors so that strategies can cut and join them.
//
//     struct SignState : torch::optim::OptimizerCloneableParamState<SignState>,
//                        fabric::ElementwiseState {
//       torch::Tensor momentum;
//       void visit_tensors(const TensorVisitor& visit) override { visit(momentum); }
//     };
//     class SignSGD : public torch::optim::Optimizer, public fabric::ElementwiseOptimizer { … };
#pragma once

#include <functional>

#include <ATen/core/Tensor.h>

namespace fabric {

/// A base of optimizers that update each element from its own parameter, gradient and state alone,
/// so that they may be given any part of a parameter (a shard, flattened) in its place. One whose
/// update looks at more than one element (a norm, a factorisation, a mean) must not declare it:
/// its results on shards would differ from those on one process.
class ElementwiseOptimizer {
 public:
  virtual ~ElementwiseOptimizer() = default;

  /// Whether it is so with the options it has now.
  virtual bool is_elementwise() const { return true; }
};

/// A base of `OptimizerParamState`s whose tensors can be cut and joined like their parameter.
/// Needed for what is set up after its first step, and for parameters that are regrouped later.
class ElementwiseState {
 public:
  using TensorVisitor = std::function<void(at::Tensor&)>;

  virtual ~ElementwiseState() = default;

  /// Calls `visit` with each tensor that has an element for each element of the parameter, always
  /// in the same order, undefined ones too. Everything else in the state (steps) belongs to the
  /// parameter as a whole and is copied by `clone`.
  virtual void visit_tensors(const TensorVisitor& visit) = 0;
};

}  // namespace fabric
