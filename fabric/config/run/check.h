// What a struct that was read still lacks.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <fabric/config/tree/node.h>
#include <fabric/config/types/problems.h>
#include <fabric/config/types/type.h>

namespace fabric::config::detail {

/// Asks structs whether they are valid, inner ones first, and looks for Required fields without a
/// value. Sections in which something is wrong already are not asked.
/// @param given what sources gave, for the place of a section
/// @param missing whether a Required without a value is a problem
/// @param hint_of what else is said of such an option: a link that was skipped
using HintOf = std::function<std::string(const std::string& path)>;
void check(const Type& type, void* value, const Node& given, Problems& problems, bool missing,
           const HintOf& hint_of);

/// A line of a printed configuration for each Required without a value.
/// @param without options that are not printed: links give them
std::string missing_comments(const Type& type, void* value,
                             const std::vector<std::string>& without);

}  // namespace fabric::config::detail
