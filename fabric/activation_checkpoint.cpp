#include <fabric/activation_checkpoint.h>

#include <memory>
#include <mutex>
#include <utility>

#include <c10/core/InferenceMode.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <accelerators/error.h>
#include <strategies/backward_collective.h>

namespace fabric::detail {
namespace {

using at::Tensor;
using torch::autograd::Node;
using torch::autograd::variable_list;

// Autograd makes the node of a view anew, when it is next asked for, after the base was written: it
// must be there before the function runs.
std::vector<Tensor> with_settled_nodes(std::vector<Tensor> tensors) {
  for (const Tensor& tensor : tensors) {
    tensor.grad_fn();
  }
  return tensors;
}

std::vector<std::int64_t> versions_of(const std::vector<Tensor>& tensors) {
  std::vector<std::int64_t> versions;
  for (const Tensor& tensor : tensors) {
    versions.push_back(tensor.is_inference() ? 0 : static_cast<std::int64_t>(tensor._version()));
  }
  return versions;
}

std::vector<std::int64_t> versions_of(const Edges& edges) {
  std::vector<std::int64_t> versions;
  for (const torch::autograd::Edge& edge : edges) {
    versions.push_back(version_of_leaf(edge));
  }
  return versions;
}

/// What a tensor of the result looks like.
struct Looks {
  explicit Looks(const Tensor& tensor)
      : sizes(tensor.is_nested() ? std::vector<std::int64_t>() : tensor.sizes().vec()),
        dtype(tensor.scalar_type()),
        differentiable(tensor.requires_grad()) {}
  std::string text() const {
    return detail::str(dtype, " ", at::IntArrayRef(sizes),
                       differentiable ? "" : " without gradient");
  }
  bool operator==(const Looks&) const = default;

  std::vector<std::int64_t> sizes;
  at::ScalarType dtype;
  bool differentiable;
};

constexpr const char* kSameRun =
    "Hint: it must do the same in both runs: leave the mode of its modules and all it refers to "
    "as they are until backward. CheckpointOptions{.check = false} lets a harmless difference "
    "pass.";

/// A first run, with all that the second needs.
struct FirstRun {
  CheckpointOptions options;
  torch::nn::Module* module;
  std::shared_ptr<const RepeatableCall> call;
  std::vector<Tensor> arguments;
  std::vector<std::int64_t> versions;
  RunState state;
  std::vector<Looks> results;
  Edges leaving;
  std::vector<std::int64_t> leaf_versions;
  std::unique_ptr<CommunicatingGraph> communicates;  // like the graph that was let go of

  variable_list backward(variable_list gradients) const;

 private:
  void check_unchanged() const;
  void check_results(const std::vector<Tensor>& again) const;
};

void FirstRun::check_unchanged() const {
  const std::vector<std::int64_t> now = versions_of(arguments);
  for (std::size_t i = 0; i < now.size(); ++i) {
    FABRIC_CHECK(Misconfiguration, now[i] == versions[i], "[fabric.checkpoint] argument tensor ", i,
                 " was changed in place between the call and backward, which needs it as it was; ",
                 "got version ", now[i], "; expected ", versions[i],
                 ". Hint: pass a clone, or use the operator that is not in place.");
  }
  const std::vector<std::int64_t> leaves = versions_of(leaving);
  for (std::size_t i = 0; options.check && i < leaves.size(); ++i) {
    FABRIC_CHECK(Misconfiguration, leaves[i] == leaf_versions[i],
                 "[fabric.checkpoint] a parameter ", "of shape ",
                 leaving[i].function->input_metadata(0).shape_as_dim_vector(),
                 " was changed between the call and backward, which would compute with the new ",
                 "values. Hint: step the optimizer after all backwards of a forward.");
  }
}

void FirstRun::check_results(const std::vector<Tensor>& again) const {
  FABRIC_CHECK(Misconfiguration, again.size() == results.size(),
               "[fabric.checkpoint] the function ",
               "returned another number of tensors when it ran again in backward; got ",
               again.size(), "; expected ", results.size(), ". ", kSameRun);
  for (std::size_t i = 0; i < again.size(); ++i) {
    const Looks looks(again[i]);
    const bool usable = looks.differentiable || !results[i].differentiable;
    FABRIC_CHECK(Misconfiguration, options.check ? looks == results[i] : usable,
                 "[fabric.checkpoint] result tensor ", i, " differs when the function runs again ",
                 "in backward; got ", looks.text(), "; expected ", results[i].text(), ". ",
                 kSameRun);
  }
}

variable_list FirstRun::backward(variable_list gradients) const {
  check_unchanged();
  Edges roots;
  const MadeGraph graph;
  {
    const RunState::Scope again(state, module);
    const std::vector<Tensor> outputs = call->run();
    check_results(outputs);
    FABRIC_CHECK(Misconfiguration, !options.check || again.drew_the_same(), "[fabric.checkpoint] ",
                 "the function drew another number of random numbers when it ran again in ",
                 "backward (dropout that was switched on or off). ", kSameRun);
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (results[i].differentiable) {
        roots.push_back(torch::autograd::impl::gradient_edge(outputs[i]));
      }
    }
  }
  auto sink = std::shared_ptr<GradientSink>(new GradientSink(leaving), torch::autograd::deleteNode);
  const std::size_t used = graph.redirect(roots, leaving, sink);
  FABRIC_CHECK(Misconfiguration, !options.check || used == leaving.size(), "[fabric.checkpoint] ",
               "the function used other parameters when it ran again in backward; got ", used,
               " different tensors that require grad; expected ", leaving.size(), ". ", kSameRun);
  variable_list arrived;
  Edges reached;
  for (std::size_t i = 0; i < roots.size(); ++i) {
    if (gradients[i].defined()) {
      reached.push_back(std::move(roots[i]));
      arrived.push_back(std::move(gradients[i]));
    }
  }
  roots.clear();
  gradients.clear();
  if (!reached.empty()) {
    torch::autograd::Engine::get_default_engine().execute(
        reached, arrived, /*keep_graph=*/false, /*create_graph=*/false, /*accumulate_grad=*/true);
  }
  variable_list result = sink->take();
  result.resize(leaving.size());
  return result;
}

/// Stands in the graph for a function.
class CheckpointNode final : public Node {
 public:
  CheckpointNode(Edges edges, std::shared_ptr<const FirstRun> run)
      : Node(std::move(edges)), run_(std::move(run)) {}
  std::string name() const override { return "fabric::Checkpoint"; }

  void release_variables() override {
    const std::lock_guard lock(mutex_);
    run_.reset();
  }

 private:
  variable_list apply(variable_list&& gradients) override {
    FABRIC_CHECK(Routing, !at::GradMode::is_enabled(), "[fabric.checkpoint] backward with ",
                 "create_graph = true reached a checkpointed function, whose gradients cannot be ",
                 "differentiated again. Hint: call it without fabric::checkpoint where gradients ",
                 "of gradients are needed.");
    std::shared_ptr<const FirstRun> run;
    {
      const std::lock_guard lock(mutex_);
      run = run_;
    }
    FABRIC_CHECK(Routing, run != nullptr, "[fabric.checkpoint] backward went through a ",
                 "checkpointed function a second time, after its arguments had been freed. Hint: ",
                 "retain_graph = true in all backwards but the last.");
    return run->backward(std::move(gradients));
  }

  std::shared_ptr<const FirstRun> run_;
};

}  // namespace

bool CheckpointedCall::wanted(const torch::nn::Module* module) {
  return at::GradMode::is_enabled() && !c10::InferenceMode::is_enabled() &&
         !LeftOutModules::contain(module);
}

CheckpointedCall::CheckpointedCall(CheckpointOptions options, torch::nn::Module* module,
                                   std::shared_ptr<const RepeatableCall> call)
    : options_(options),
      module_(module),
      call_(std::move(call)),
      arguments_(with_settled_nodes(call_->arguments())),
      versions_(versions_of(arguments_)),
      state_(options.preserve_rng) {}

std::vector<Tensor> CheckpointedCall::finish(std::vector<Tensor> results) {
  state_.end();
  const std::vector<std::int64_t> versions = versions_of(arguments_);
  std::vector<Looks> looks;
  Edges roots;
  for (const Tensor& result : results) {
    looks.emplace_back(result);
    if (result.requires_grad()) {
      roots.push_back(torch::autograd::impl::gradient_edge(result));
    }
  }
  if (roots.empty()) {
    return results;
  }
  for (std::size_t i = 0; i < versions.size(); ++i) {
    FABRIC_CHECK(Misconfiguration, versions[i] == versions_[i], "[fabric.checkpoint] the function ",
                 "changes its argument tensor ", i, " in place, which running it again would do a ",
                 "second time. Hint: pass a clone, or use the operator that is not in place ",
                 "(torch::relu for ReLU(inplace = true)).");
  }
  Edges leaving = graph_.leaving(std::move(roots));
  auto communicates = CommunicatingGraph::any() ? std::make_unique<CommunicatingGraph>() : nullptr;
  auto run = std::make_shared<FirstRun>(FirstRun{.options = options_,
                                                 .module = module_,
                                                 .call = std::move(call_),
                                                 .arguments = std::move(arguments_),
                                                 .versions = std::move(versions_),
                                                 .state = std::move(state_),
                                                 .results = looks,
                                                 .leaving = leaving,
                                                 .leaf_versions = versions_of(leaving),
                                                 .communicates = std::move(communicates)});
  const std::shared_ptr<Node> node(new CheckpointNode(std::move(leaving), std::move(run)),
                                   torch::autograd::deleteNode);
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (looks[i].differentiable) {
      results[i] = results[i].detach();
      torch::autograd::set_history(results[i], node);
    }
  }
  return results;
}

}  // namespace fabric::detail
