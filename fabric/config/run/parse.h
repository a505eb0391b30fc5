// From all sources to one value: what Parser does for any struct.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <fabric/config/error.h>
#include <fabric/config/links/links.h>
#include <fabric/config/options.h>
#include <fabric/config/resolved.h>
#include <fabric/config/sources/arguments.h>
#include <fabric/config/types/type.h>

namespace fabric::config::detail {

/// A struct without its type.
struct Shape {
  const Type* type;
  /// A new one, as the program has it before anything is read.
  std::function<std::shared_ptr<void>()> make;
  Links links{};
  /// Of a program with commands: the one that runs, which is a section, and the others, whose
  /// sections in files are for their own runs.
  std::string command{};
  std::vector<std::string> other_commands{};
};

/// All that a parse depends on.
struct Inputs {
  std::vector<std::string> arguments{};  ///< without the program's name
  /// Environment variables: name and value.
  std::vector<std::pair<std::string, std::string>> variables{};
  std::string folder{};  ///< the working directory
  /// The argument that is no option, but names the command.
  std::size_t command_at = kNoCommand;
};

/// Either a value, or a screen that was asked for instead.
struct Answer {
  std::shared_ptr<void> value;
  Resolved resolved;
  std::vector<std::string> notes;  ///< what is odd, and no error
  std::vector<LinkOutcome> links;  ///< what became of each
  std::string screen;              ///< what was asked for instead; then there is no value
};

/// Reads all sources. Throws ConfigError with everything that is wrong.
Answer parse(const Shape& shape, const ParserOptions& options, const Inputs& inputs);

/// The inputs of this process: its variables and working directory.
Inputs inputs_of_process(std::vector<std::string> arguments);

/// Throws MisconfigurationError for a struct that takes a name of the parser's own.
void check_names(const Type& type);

}  // namespace fabric::config::detail
