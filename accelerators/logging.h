// What the toolkit says while it runs: one line each, rank 0 only, on standard error.
#pragma once

#include <string>

namespace fabric::detail {

/// Whether FABRIC_LOG=quiet asks for silence about decisions.
bool quiet();

/// Says an automatic decision or a fact on rank 0: `[fabric] text`. FABRIC_LOG=quiet silences it.
void log_info(const std::string& text);

/// Says something that is probably wrong on rank 0: `[fabric] warning: text`.
void log_warning(const std::string& text);

}  // namespace fabric::detail
