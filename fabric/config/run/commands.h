// Programs with commands: which options lie in the section of the command, and which at the root.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <fabric/config/sources/variables.h>
#include <fabric/config/tree/node.h>
#include <fabric/config/types/type.h>

namespace fabric::config::detail {

/// The path of an option behind the command: the command's, or else the root's.
std::string path_of_command(const StructType& root, const std::string& command,
                            const std::string& name);

/// The content of a file behind the command: its options are the command's. A file of the whole
/// program, with the section of the command in it, stays as it is.
Node below_command(const StructType& root, const std::string& command, Node from);

/// Drops the sections of other commands.
void drop_commands(Node& from, const std::vector<std::string>& commands);
/// Drops their variables: TRAIN_TEST__BATCHES while `fit` runs.
Variables without_commands(Variables variables, const std::string& prefix,
                           const std::vector<std::string>& commands);

}  // namespace fabric::config::detail
