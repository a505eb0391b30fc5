// All sources in their order: what they give together.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <fabric/config/options.h>
#include <fabric/config/run/parse.h>
#include <fabric/config/run/resolved_tree.h>
#include <fabric/config/sources/arguments.h>
#include <fabric/config/sources/files.h>
#include <fabric/config/tree/node.h>
#include <fabric/config/types/problems.h>

namespace fabric::config::detail {

/// What a parse reads.
struct Sources {
  const ParserOptions& options;  ///< has the default files and the beginning of variables
  const Inputs& inputs;
  const std::vector<Argument>& arguments;  ///< in the order in which they are read
  const Node* checkpoint;                  ///< its hyper-parameters; null: there are none
  Files& files;
};

/// What sources give together.
struct Merged {
  Node given{};
  std::vector<std::string> notes{};
  std::optional<PrintOptions> print{};  ///< of --print_config
  bool print_links = false;             ///< --print_links is given
  bool unread = false;  ///< a file could not be read: it may have had what is missing
};

/// Merges default files, the checkpoint, variables and arguments; later ones win.
Merged merge_sources(const Shape& shape, const Node& defaults, const Sources& sources,
                     Problems& problems);

}  // namespace fabric::config::detail
