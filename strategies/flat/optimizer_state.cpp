#include <strategies/flat/optimizer_state.h>

#include <algorithm>
#include <typeinfo>

#include <ATen/ATen.h>
#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include <accelerators/error.h>
#include <accelerators/ordinary_scope.h>
#include <strategies/elementwise_optimizer.h>

namespace fabric {
namespace {

using State = torch::optim::OptimizerParamState;

// The tensors of a state, of the shape of its parameter each. False for an unknown class.
template <class Visit>
bool visit_tensors(State& state, Visit&& visit) {
  using namespace torch::optim;
  if (auto* own = dynamic_cast<ElementwiseState*>(&state)) {
    own->visit_tensors([&](at::Tensor& tensor) { visit(tensor); });
  } else if (auto* adam = dynamic_cast<AdamParamState*>(&state)) {
    visit(adam->exp_avg());
    visit(adam->exp_avg_sq());
    visit(adam->max_exp_avg_sq());
  } else if (auto* adamw = dynamic_cast<AdamWParamState*>(&state)) {
    visit(adamw->exp_avg());
    visit(adamw->exp_avg_sq());
    visit(adamw->max_exp_avg_sq());
  } else if (auto* sgd = dynamic_cast<SGDParamState*>(&state)) {
    visit(sgd->momentum_buffer());
  } else if (auto* rmsprop = dynamic_cast<RMSpropParamState*>(&state)) {
    visit(rmsprop->square_avg());
    visit(rmsprop->momentum_buffer());
    visit(rmsprop->grad_avg());
  } else if (auto* adagrad = dynamic_cast<AdagradParamState*>(&state)) {
    visit(adagrad->sum());
  } else {
    return false;
  }
  return true;
}

std::vector<at::Tensor> tensors_of(const State& state) {
  std::vector<at::Tensor> tensors;
  const bool known = visit_tensors(const_cast<State&>(state),
                                   [&](const at::Tensor& tensor) { tensors.push_back(tensor); });
  FABRIC_CHECK(
      Misconfiguration, known, "[fabric.setup_optimizers] the optimizer has state of a ",
      "class that cannot be sharded; got ", typeid(state).name(), "; expected that of ",
      "SGD, Adam, AdamW, RMSprop, Adagrad, or a class derived from ElementwiseState. Hint: ",
      "set the optimizer up before its first step.");
  return tensors;
}

// The elements of a tensor in the order of its memory.
at::Tensor in_memory_order(const at::Tensor& tensor) {
  return tensor.is_non_overlapping_and_dense()
             ? at::as_strided(tensor, {tensor.numel()}, {1}, tensor.storage_offset())
             : tensor.contiguous().view(-1);
}

}  // namespace

bool is_elementwise(const torch::optim::Optimizer& optimizer) {
  using namespace torch::optim;
  if (const auto* declared = dynamic_cast<const ElementwiseOptimizer*>(&optimizer)) {
    return declared->is_elementwise();
  }
  const auto& type = typeid(optimizer);
  return type == typeid(SGD) || type == typeid(Adam) || type == typeid(AdamW) ||
         type == typeid(RMSprop) || type == typeid(Adagrad);
}

std::int64_t state_bytes(const torch::optim::Optimizer& optimizer) {
  std::int64_t bytes = 0;
  for (const auto& [parameter, state] : optimizer.state()) {
    visit_tensors(*state, [&](const at::Tensor& tensor) {
      bytes += tensor.defined() ? static_cast<std::int64_t>(tensor.nbytes()) : 0;
    });
  }
  return bytes;
}

std::unique_ptr<State> cut_state(const std::vector<PlacedState>& states, std::int64_t begin,
                                 std::int64_t end) {
  const OrdinaryScope ordinary;
  std::unique_ptr<State> result;
  std::vector<at::Tensor> parts;
  for (const PlacedState& placed : states) {
    const std::int64_t first = std::max(begin, placed.begin);
    const std::int64_t last = std::min(end, placed.end);
    // An empty part has state as well, so that all ranks count the same steps.
    if (first > last || (first == last && begin != end)) {
      continue;
    }
    const std::vector<at::Tensor> sources = tensors_of(*placed.state);
    if (!result) {
      result = placed.state->clone();
      parts.resize(sources.size());
    }
    for (std::size_t i = 0; i < sources.size(); ++i) {
      if (!sources[i].defined()) {
        continue;
      }
      if (!parts[i].defined()) {
        parts[i] = at::zeros({end - begin}, sources[i].options());
      }
      parts[i]
          .narrow(0, first - begin, last - first)
          .copy_(in_memory_order(sources[i]).narrow(0, first - placed.begin, last - first));
    }
  }
  if (result) {
    auto part = parts.begin();
    visit_tensors(*result, [&](at::Tensor& tensor) { tensor = *part++; });
  }
  return result;
}

}  // namespace fabric
