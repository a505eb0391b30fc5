// Where paths begin.
#pragma once

#include <string>

namespace fabric::config::detail {

struct Node;

/// The path of a scalar, absolute: a relative one begins at the folder of the file that gave it, or
/// at the working directory. An empty one stays empty.
std::string absolute_path(const Node& scalar);

}  // namespace fabric::config::detail
