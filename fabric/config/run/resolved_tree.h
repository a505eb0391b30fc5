// What stands behind a config::Resolved.
#pragma once

#include <string>
#include <vector>

#include <fabric/config/resolved.h>
#include <fabric/config/tree/node.h>
#include <fabric/config/types/type.h>

namespace fabric::config::detail {

struct ResolvedTree {
  const StructType* type;
  std::string program;
  Node given;                       ///< what sources gave, references followed
  Node values;                      ///< of all options
  Node defaults;                    ///< likewise, of the program
  std::vector<std::string> linked;  ///< options that links gave: files do not have them
  std::vector<std::string> skipped_links;
  std::vector<Option> options;
  std::string yaml;
};

/// Fills `options` and `yaml`.
void finish(ResolvedTree& tree);

/// What of a configuration is printed.
struct PrintOptions {
  bool only_changed = false;  ///< leaves out what has its default
  bool only_set = false;      ///< leaves out what is null
  bool comments = false;      ///< has the help of each option above it
};

/// The configuration as YAML.
std::string to_yaml(const ResolvedTree& tree, const PrintOptions& options);

/// Tells every config::Resolved in a value what it is a part of.
void mark(const Type& type, void* value, const Resolved& resolved, const std::string& section = {});

}  // namespace fabric::config::detail
