// A collective that a node of an autograd graph will run in backward.
#pragma once

#include <ATen/core/ivalue.h>

#include <accelerators/collectives/communicator.h>

namespace fabric {

/// Keep one in the context of an autograd Function whose backward communicates
/// (`context->saved_data[…] = BackwardCollective::keep(communicator)`). While any is alive,
/// gradient reductions that would run inline wait for the end of the backward: a rank blocked in
/// one of them could not come to the node that another rank waits in.
class BackwardCollective : public torch::CustomClassHolder {
 public:
  static c10::IValue keep(const Communicator& communicator);
  static const Communicator& of(const c10::IValue& kept);
  /// Whether any graph of this process has such a node.
  static bool any();

  explicit BackwardCollective(Communicator communicator);
  ~BackwardCollective() override;

 private:
  Communicator communicator_;
};

}  // namespace fabric
