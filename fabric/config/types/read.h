// Nodes into values, by the tables of their types.
#pragma once

#include <string>

#include <fabric/config/tree/node.h>
#include <fabric/config/types/problems.h>
#include <fabric/config/types/type.h>

namespace fabric::config::detail {

/// Gives a value what a node says; the rest of a struct stays as it is. What does not fit becomes a
/// problem, and that part keeps its value.
/// @param path of the value, for texts
void read(const Type& type, void* value, const Node& node, const std::string& path,
          Problems& problems);

/// A text of the command line or the environment as the list, map or section that an option of this
/// type needs: `[1, 2]`, `1,2` for numbers, `{a: 1}`. Other nodes stay as they are.
/// @returns what is wrong; nothing if all is well
std::string open_text(const Type& type, Node& node);

}  // namespace fabric::config::detail
