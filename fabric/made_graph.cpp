#include <fabric/detail/made_graph.h>

#include <unordered_map>
#include <unordered_set>
#include <utility>

#include <ATen/SequenceNumber.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>

#include <accelerators/error.h>

namespace fabric::detail {
namespace {

using torch::autograd::AccumulateGrad;
using torch::autograd::Edge;
using torch::autograd::Node;
using torch::autograd::variable_list;

}  // namespace

MadeGraph::MadeGraph()
    : thread_(at::RecordFunction::currentThreadId()), first_(at::sequence_number::peek()) {}

bool MadeGraph::made(const Node& node) const {
  // Accumulators have the largest number, and outlive every graph.
  return node.thread_id() == thread_ && node.sequence_nr() >= first_ &&
         dynamic_cast<const AccumulateGrad*>(&node) == nullptr;
}

void MadeGraph::visit_leaving(Edges& roots, const std::function<void(Edge&)>& visit) const {
  std::unordered_set<Node*> seen;
  std::vector<Node*> open;
  const auto look_at = [&](Edge& edge) {
    if (!edge.is_valid()) {
      return;
    }
    if (!made(*edge.function)) {
      visit(edge);
    } else if (seen.insert(edge.function.get()).second) {
      open.push_back(edge.function.get());
    }
  };
  for (Edge& root : roots) {
    look_at(root);
  }
  while (!open.empty()) {
    Node* node = open.back();
    open.pop_back();
    for (Edge& edge : node->next_edges()) {
      look_at(edge);
    }
  }
}

Edges MadeGraph::leaving(Edges roots) const {
  Edges edges;
  std::unordered_set<Edge> seen;
  visit_leaving(roots, [&](Edge& edge) {
    if (seen.insert(edge).second) {
      edges.push_back(edge);
    }
  });
  return edges;
}

std::size_t MadeGraph::redirect(Edges& roots, const Edges& known,
                                const std::shared_ptr<Node>& sink) const {
  std::unordered_map<Edge, std::uint32_t> places;
  for (std::size_t i = 0; i < known.size(); ++i) {
    places.emplace(known[i], static_cast<std::uint32_t>(i));
  }
  std::unordered_set<Edge> seen;
  visit_leaving(roots, [&](Edge& edge) {
    seen.insert(edge);
    const auto place = places.find(edge);
    if (place != places.end()) {
      // Written in place: set_next_edge refuses nodes that others lead to, since numbers of depth
      // might grow. A sink is as deep as a leaf.
      edge = Edge(sink, place->second);
      return;
    }
    FABRIC_CHECK(Misconfiguration, leads_to_leaf(edge), "[fabric.checkpoint] the function uses ",
                 "another tensor in backward than in forward (it came from ", edge.function->name(),
                 "). Hint: pass tensors as arguments or capture them by value; a variable that is ",
                 "captured by reference and assigned later is another one by then.");
  });
  return seen.size();
}

GradientSink::GradientSink(const Edges& edges) {
  for (const Edge& edge : edges) {
    input_metadata_.emplace_back(edge.function->input_metadata(edge.input_nr));
  }
}

variable_list GradientSink::apply(variable_list&& gradients) {
  gradients_ = std::move(gradients);
  return {};
}

bool leads_to_leaf(const Edge& edge) {
  return dynamic_cast<const AccumulateGrad*>(edge.function.get()) != nullptr;
}

std::int64_t version_of_leaf(const Edge& edge) {
  const auto* leaf = dynamic_cast<const AccumulateGrad*>(edge.function.get());
  return leaf == nullptr ? 0 : static_cast<std::int64_t>(leaf->variable._version());
}

}  // namespace fabric::detail
