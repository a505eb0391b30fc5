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
  std::string path{};   ///< of the option: with the command's section, where it is the command's
  std::string value{};  ///< empty where there is none
  bool has_value = false;
  bool append = false;      ///< --list+=value
  bool of_command = false;  ///< whether it stands behind the command
};

/// No argument is a command.
inline constexpr std::size_t kNoCommand = static_cast<std::size_t>(-1);

/// Reads `--name=value`, `--name value`, `--list+=value`, `--name` alone, `-h` and `-c file`.
///
/// The argument after a name is its value, unless it begins with two dashes: `--lr -1` is one
/// option,
/// `--text=--dashes` needs the equals sign. What is no option becomes a problem.
/// @param command_at the index of an argument that is no option, but the program's command
std::vector<Argument> read_arguments(const std::vector<std::string>& arguments, Problems& problems,
                                     std::size_t command_at = kNoCommand);

/// The index of the first argument that is neither an option nor the value of one.
std::size_t find_command(const std::vector<std::string>& arguments);

/// The place of an argument.
Place place_of(const Argument& argument, const std::string& folder);

}  // namespace fabric::config::detail
