// The options of data-parallel training.
#pragma once

namespace fabric {

/// Data-parallel training: every process holds the whole model, gradients are averaged over ranks
/// while backward runs. With one process it trains like `single_device`.
///
///     fabric::Fabric fabric({.strategy = fabric::DDPOptions{.bucket_mb = 10}});
struct DDPOptions {
  /// Size at which a gradient bucket is closed and reduced, in MiB (> 0). The first bucket closes
  /// at 1 MiB so that communication starts early.
  double bucket_mb = 25;
  /// Whether rank 0's buffers (running statistics and the like) are sent to all ranks before each
  /// routed call in training with gradients.
  bool broadcast_buffers = true;
  /// Mean of the gradients over ranks; false = their sum.
  bool average = true;

  friend constexpr bool operator==(const DDPOptions&, const DDPOptions&) = default;
};

}  // namespace fabric
