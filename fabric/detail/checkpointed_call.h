// One call of a checkpointed function, without its types; see fabric/activation_checkpoint.h.
#pragma once

#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include <fabric/checkpoint_options.h>
#include <fabric/detail/made_graph.h>
#include <fabric/detail/run_state.h>

namespace torch::nn {
class Module;
}

namespace fabric::detail {

/// A function with its arguments.
class RepeatableCall {
 public:
  virtual ~RepeatableCall() = default;
  /// The tensors among the arguments.
  virtual std::vector<at::Tensor> arguments() const = 0;
  /// Calls the function; returns the tensors of its result.
  virtual std::vector<at::Tensor> run() const = 0;
};

/// Brackets the first run. The function runs with gradients, as without checkpointing; `finish`
/// lets go of the graph it made and puts one node in its place, whose edges are those that left the
/// graph: to what made the arguments, and to parameters. Gradients of parameters are therefore
/// accumulated by the outer backward, once, in its own order, and strategies see nothing unusual.
class CheckpointedCall {
 public:
  /// Whether a call must be checkpointed: gradients are on and its module was not left out.
  /// @param module null for other functions
  static bool wanted(const torch::nn::Module* module);

  CheckpointedCall(CheckpointOptions options, torch::nn::Module* module,
                   std::shared_ptr<const RepeatableCall> call);

  /// @param results the tensors of the result
  /// @returns what the caller gets in their place
  std::vector<at::Tensor> finish(std::vector<at::Tensor> results);

 private:
  CheckpointOptions options_;
  torch::nn::Module* module_;
  std::shared_ptr<const RepeatableCall> call_;
  std::vector<at::Tensor> arguments_;
  std::vector<std::int64_t> versions_;
  RunState state_;
  AutocastCacheScope casts_;
  MadeGraph graph_;  // from here on
};

}  // namespace fabric::detail
