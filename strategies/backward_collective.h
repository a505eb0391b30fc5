// A collective that a node of an autograd graph will run in backward.
#pragma once

#include <utility>

#include <ATen/core/ivalue.h>

#include <accelerators/collectives/communicator.h>

namespace fabric {

/// Lives in a graph whose backward communicates. While any is alive, gradient reductions that would
/// run inline wait for the end of the backward: a rank blocked in one of them could not come to the
/// node that another rank waits in.
class CommunicatingGraph {
 public:
  CommunicatingGraph();
  ~CommunicatingGraph();
  CommunicatingGraph(const CommunicatingGraph&) = delete;
  CommunicatingGraph& operator=(const CommunicatingGraph&) = delete;

  /// Whether any graph of this process is one.
  static bool any();
};

/// Keep one in the context of an autograd Function whose backward communicates
/// (`context->saved_data[…] = BackwardCollective::keep(communicator)`). It makes its graph a
/// CommunicatingGraph.
class BackwardCollective : public torch::CustomClassHolder {
 public:
  static c10::IValue keep(const Communicator& communicator);
  static const Communicator& of(const c10::IValue& kept);

  explicit BackwardCollective(Communicator communicator) : communicator_(std::move(communicator)) {}

 private:
  Communicator communicator_;
  CommunicatingGraph graph_;
};

}  // namespace fabric
