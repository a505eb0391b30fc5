// Whether a backward of this process was started by `Fabric::backward`.
#pragma once

namespace fabric {

/// Lives while `Fabric::backward` runs. Rounds opened by a gradient then do not close themselves,
/// `Fabric::backward` closes all open ones once the engine has returned, re-entrant backwards
/// included; and outputs of routed calls accept their gradients.
///
/// Counted for the process, since gradients of CUDA tensors arrive on the engine's threads: a
/// `loss.backward()` of one thread during another's `Fabric::backward` is taken for part of it.
class ExplicitBackward {
 public:
  ExplicitBackward();
  ~ExplicitBackward();
  ExplicitBackward(const ExplicitBackward&) = delete;
  ExplicitBackward& operator=(const ExplicitBackward&) = delete;

  static bool any();
};

}  // namespace fabric
