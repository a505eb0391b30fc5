// The options of data-parallel training.
#pragma once

#include <strategies/dtype_choice.h>

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
  /// What larger gradients are rounded to on the wire: "bfloat16" halves the traffic of float32
  /// ones and takes a buffer of that size. Each rank's part is rounded once and each sum of ranks
  /// again, to 8 bits of mantissa: relative errors of a few 2⁻⁹ in each element of the mean.
  /// "float16" has 11 bits, but overflows above 65504.
  DtypeChoice reduce_dtype{};

  friend constexpr bool operator==(const DDPOptions&, const DDPOptions&) = default;
};

}  // namespace fabric
