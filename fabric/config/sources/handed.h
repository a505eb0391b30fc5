// A configuration on its way to the processes that a program starts of itself.
//
// They cannot read what the first process read: standard input and `<(…)` are its own, and files
// may change. So it hands them the result, with the places, in variables.
#pragma once

#include <optional>
#include <string>

#include <fabric/config/sources/variables.h>
#include <fabric/config/tree/node.h>
#include <fabric/config/types/type.h>

namespace fabric::config::detail {

/// The variables that carry what was given. Throws MisconfigurationError above 1 MB.
Variables variables_to_hand(const StructType& type, const Node& given);

/// What such variables carry; nothing where there are none, or where they are for another struct.
std::optional<Node> handed_values(const StructType& type, const Variables& variables);

/// The name of a variable of them, by its number from 0.
std::string handed_variable(std::size_t number);

}  // namespace fabric::config::detail
