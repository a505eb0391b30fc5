// The options of sharded training.
#pragma once

#include <strategies/unit_choice.h>

namespace fabric {

/// Sharded data-parallel training: every process holds an equal part of parameters, gradients and
/// optimizer state; the parameters of a unit are gathered while they are used.
///
///     fabric::Fabric fabric({.strategy = fabric::FSDPOptions{.units = {"Block"}}});
struct FSDPOptions {
  /// Which parameters are gathered and freed together.
  UnitChoice units{};
  /// How many units are gathered ahead of their use (≥ 0), where collectives run beside
  /// computation. Memory for unsharded parameters is bounded by the two largest units all the same.
  int prefetch = 1;
  /// Whether rank 0's buffers (running statistics and the like) are sent to all ranks before each
  /// routed call in training with gradients.
  bool broadcast_buffers = true;

  friend constexpr bool operator==(const FSDPOptions&, const FSDPOptions&) = default;
};

}  // namespace fabric
