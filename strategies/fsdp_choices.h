// The options of fsdp that are chosen by name.
#pragma once

#include <accelerators/named_choice.h>

namespace fabric {

namespace detail {
struct ShardingNames {
  static constexpr std::string_view what = "value of sharding";
  static constexpr std::string_view names[] = {"full", "grad_op", "hybrid", "none"};
  static constexpr void check(bool known) {
    if (!known) {
      throw "sharding: expected \"full\", \"grad_op\", \"hybrid\" or \"none\"";
    }
  }
};
struct AccumulationNames {
  static constexpr std::string_view what = "value of accumulation";
  static constexpr std::string_view names[] = {"whole", "sharded"};
  static constexpr void check(bool known) {
    if (!known) {
      throw "accumulation: expected \"whole\" or \"sharded\"";
    }
  }
};
}  // namespace detail

/// What is cut over the ranks.
///
/// | value | parameters | gradients, optimizer state |
/// |---|---|---|
/// | `"full"` (default) | cut; a unit is gathered while it is used | cut |
/// | `"grad_op"` | cut, but once gathered they stay until an optimizer changes them | cut |
/// | `"hybrid"` | as full, over the ranks of a node; copies across nodes | likewise |
/// | `"none"` | whole on every rank, as under ddp | whole |
using ShardingChoice = NamedChoice<detail::ShardingNames>;

/// Where gradients add up while synchronisation is off (no_backward_sync, accumulate): `"whole"`
/// on each rank, without communication; or `"sharded"`: each backward reduces them, which takes
/// communication and saves the memory of whole gradients.
using AccumulationChoice = NamedChoice<detail::AccumulationNames>;

}  // namespace fabric
