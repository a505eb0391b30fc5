// The part of the autograd graph that a function made, and the edges by which it hangs on the rest.
//
// This file and its source are the only ones that look into autograd's graph.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <torch/csrc/autograd/edge.h>
#include <torch/csrc/autograd/function.h>

namespace fabric::detail {

using Edges = std::vector<torch::autograd::Edge>;

/// Tells the nodes that this thread makes from now on from those that were there before.
class MadeGraph {
 public:
  MadeGraph();

  /// The edges by which what was made since leaves, each once, in an order that depends on the
  /// graph alone: to nodes made before, and to leaves (parameters).
  /// @param roots edges of the results
  Edges leaving(Edges roots) const;

  /// Leads the leaving edges among `known` (and roots among them) to input i of `sink`, where i is
  /// the place in `known`. Others to leaves are left alone.
  /// @returns how many different edges leave
  /// @throws MisconfigurationError for one to an interior node that is not known
  std::size_t redirect(Edges& roots, const Edges& known,
                       const std::shared_ptr<torch::autograd::Node>& sink) const;

 private:
  void visit_leaving(Edges& roots, const std::function<void(torch::autograd::Edge&)>& visit) const;
  bool made(const torch::autograd::Node& node) const;

  std::uint64_t thread_;
  std::uint64_t first_;  // sequence number
};

/// Collects the gradients that arrive at redirected edges.
class GradientSink final : public torch::autograd::Node {
 public:
  explicit GradientSink(const Edges& edges);
  /// One for each edge, undefined where none arrived.
  torch::autograd::variable_list take() { return std::move(gradients_); }
  std::string name() const override { return "fabric::GradientSink"; }

 private:
  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override;

  torch::autograd::variable_list gradients_;
};

/// Whether an edge leads to a leaf, which accumulates.
bool leads_to_leaf(const torch::autograd::Edge& edge);

/// The version of the leaf an edge leads to, 0 for an interior node.
std::int64_t version_of_leaf(const torch::autograd::Edge& edge);

}  // namespace fabric::detail
