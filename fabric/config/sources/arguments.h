// The command line, cut into options and values before anything is known of their types.
#pragma once

#include <string>
#include <vector>

#include <fabric/config/types/problems.h>

namespace fabric::config::detail {

/// One option of the command line.
struct Argument {
  int number = 0;       ///< of the argument that names it, from 1
  std::string name{};   ///< "model.width", "config", "help"; without the dashes
  std::string value{};  ///< empty where there is none
  bool has_value = false;
  bool append = false;  ///< --list+=value
};

/// Reads `--name=value`, `--name value`, `--list+=value`, `--name` alone, `-h` and `-c file`.
///
/// The argument after a name is its value, unless it begins with two dashes: `--lr -1` is one
/// option,
/// `--text=--dashes` needs the equals sign. What is no option becomes a problem.
std::vector<Argument> read_arguments(const std::vector<std::string>& arguments, Problems& problems);

/// The place of an argument.
Place place_of(const Argument& argument, const std::string& folder);

}  // namespace fabric::config::detail
