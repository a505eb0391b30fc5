// How many floating-point operations an operator takes, by its name and arguments.
#pragma once

#include <cstdint>
#include <string_view>

#include <ATen/core/ivalue.h>

namespace fabric::detail {

/// The arguments of an operator, in the order of its schema, to its operations.
using FlopFormula = std::int64_t (*)(c10::ArrayRef<const c10::IValue> inputs);

/// The formula of an operator ("aten::addmm"), null for those that count nothing.
FlopFormula flop_formula_of(std::string_view name);

}  // namespace fabric::detail
