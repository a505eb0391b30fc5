// The options of fsdp that are chosen by name.
#pragma once

#include <optional>

#include <c10/core/ScalarType.h>

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
struct DtypeNames {
  static constexpr std::string_view what = "dtype";
  static constexpr std::string_view names[] = {"keep", "bfloat16", "float16", "float32", "float64"};
  static constexpr void check(bool known) {
    if (!known) {
      throw "dtype: expected \"keep\", \"bfloat16\", \"float16\", \"float32\" or \"float64\"";
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

/// A floating-point dtype; `"keep"` changes nothing.
using DtypeChoice = NamedChoice<detail::DtypeNames>;

/// The dtype of a choice, nothing for "keep".
constexpr std::optional<c10::ScalarType> dtype_of(DtypeChoice choice) {
  constexpr std::optional<c10::ScalarType> dtypes[] = {std::nullopt, c10::kBFloat16, c10::kHalf,
                                                       c10::kFloat, c10::kDouble};
  std::size_t index = 0;
  while (!choice.is(detail::DtypeNames::names[index])) {
    ++index;
  }
  return dtypes[index];
}

}  // namespace fabric
