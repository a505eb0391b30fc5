// The `unrouted` option: what happens when parameters are used outside a routed call.
#pragma once

#include <accelerators/named_choice.h>

namespace fabric {

namespace detail {
struct UnroutedNames {
  static constexpr std::string_view what = "value of unrouted";
  static constexpr std::string_view names[] = {"warn", "error", "allow"};
  static constexpr void check(bool known) {
    if (!known) {
      throw "unrouted: expected \"warn\", \"error\" or \"allow\"";
    }
  }
};
}  // namespace detail

/// What happens when a parameter of a set-up model is used, with gradients on, outside a routed
/// call: through the user's own `net->method()`, a submodule, a free function. Gradients are
/// synchronised all the same; what belongs to a call (mixed precision, the buffers of rank 0) is
/// missing.
///
/// | value | |
/// |---|---|
/// | `"warn"` (default) | says once for each model, on rank 0, what was skipped and how to get it;
/// only where something was, and only once a gradient flows back through that use | | `"error"` |
/// throws RoutingError before the operator runs, also where nothing would be skipped: a program
/// that passes on one device passes everywhere | | `"allow"` | nothing |
using UnroutedChoice = NamedChoice<detail::UnroutedNames>;

}  // namespace fabric
