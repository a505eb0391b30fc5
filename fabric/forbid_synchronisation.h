// A guard that turns hidden waits for the device into errors.
#pragma once

#include <memory>
#include <utility>

namespace fabric {

/// While it lives, operators that make the host wait for the device throw (see
/// Fabric::forbid_synchronisation). For the whole process, other threads included: autograd runs
/// its part on one of its own. Guards may be nested; each restores at its end what was before.
///
/// What waits in a loop, and what to write instead:
///
/// - `loss.item()`, printing a tensor, `if (tensor)`: keep tensors, read them rarely
/// - `nonzero`, `masked_select`, indexing by a mask: `where`, multiplication by the mask
/// - copies of memory that is not pinned, or not `non_blocking`: a loader of
///   `fabric.make_data_loader`, which pins
/// - under 16-mixed, the step of an optimizer that cannot skip on the device: a fused optimizer
/// - `clip_gradients` with `error_if_nonfinite`: without it
/// - `cpu_offload` of fsdp: it cannot do without
///
/// `Accelerator::synchronize` and events waited for by hand are not noticed: they are no accident.
class [[nodiscard(
    "waiting is an error only while the guard lives: auto guard = …")]] ForbidSynchronisation {
 public:
  explicit ForbidSynchronisation(std::shared_ptr<void> forbidden)
      : forbidden_(std::move(forbidden)) {}
  ForbidSynchronisation(const ForbidSynchronisation&) = delete;
  ForbidSynchronisation& operator=(const ForbidSynchronisation&) = delete;

 private:
  std::shared_ptr<void> forbidden_;
};

}  // namespace fabric
