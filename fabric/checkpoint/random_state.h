// The random numbers of a job as a part of a state.
#pragma once

#include <fabric/checkpoint/state_value.h>

namespace fabric {

namespace detail {
struct SaveScope;
class LoadScope;
}  // namespace detail

/// LibTorch's default generators on all ranks: the CPU's, and that of the device a rank computes
/// on. Loaded, every rank goes on with the numbers it would have drawn. In a larger world than the
/// saved one the ranks that are new draw numbers of their own, the same in every such run.
///
///     fabric.save("checkpoint.pt", {{"model", model}, {"random", fabric.random_state()}});
class RandomState {
 public:
  StateDict save_state(detail::SaveScope& scope) const;
  void load_state(const StateDict& from, detail::LoadScope& scope);
};

}  // namespace fabric
