// Handing a configuration to the processes that a program starts of itself.
#pragma once

#include <fabric/config/resolved.h>

namespace fabric::config::detail {

/// Puts a configuration into the environment of this process, for the program that it executes
/// next; takes another one away that was there. Nothing to hand where no parser made it.
/// @throws MisconfigurationError above 1 MB
void hand_over(const Resolved& resolved);

/// Takes it away: what this process starts from now on reads its own sources.
void forget_handed();

}  // namespace fabric::config::detail
