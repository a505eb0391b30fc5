// What `--help` shows.
#pragma once

#include <string>

#include <fabric/config/options.h>
#include <fabric/config/tree/node.h>
#include <fabric/config/types/type.h>

namespace fabric::config::detail {

/// All options by section, each with its type, its help and its default.
std::string help_screen(const StructType& type, const Node& defaults, const ParserOptions& options);

}  // namespace fabric::config::detail
