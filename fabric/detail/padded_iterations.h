// How many loops over loaders that repeat examples are under way in this process.
#pragma once

#include <atomic>

namespace fabric::detail {

/// A model in evaluation mode that is called meanwhile may count examples twice: the routed call
/// warns once.
inline std::atomic<int> padded_iterations{0};

}  // namespace fabric::detail
