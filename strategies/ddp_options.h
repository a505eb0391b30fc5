// Options of the "ddp" strategy.
#pragma once

namespace fabric {

/// Distributed data parallel: every process holds the whole model, computes on its own batches, and
/// the gradients are averaged while backward runs.
struct DDPOptions {
  /// Gradients are all-reduced in buckets of this size in MiB as they become ready; greater than 0,
  /// else MisconfigurationError. Small buckets start earlier, large ones cost fewer messages.
  double bucket_mb = 25;

  /// Sends rank 0's buffers (running statistics of BatchNorm) to all ranks before each routed
  /// forward in training mode.
  bool broadcast_buffers = true;

  /// Gradients become the mean over ranks; false: their sum.
  bool average = true;

  friend constexpr bool operator==(const DDPOptions&, const DDPOptions&) = default;
};

}  // namespace fabric
