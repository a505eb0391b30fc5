// A floating-point dtype as an option.
#pragma once

#include <optional>

#include <c10/core/ScalarType.h>

#include <accelerators/named_choice.h>

namespace fabric {

namespace detail {
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
