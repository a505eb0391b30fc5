// The order in which problems are shown.
#pragma once

#include <vector>

#include <fabric/config/error.h>

namespace fabric::config::detail {

/// Files first, then variables, then arguments by number, then links; last, what nothing gave.
std::vector<Problem> in_order(std::vector<Problem> problems);

}  // namespace fabric::config::detail
