// From all sources to one value: what Parser does for any struct.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <fabric/config/error.h>
#include <fabric/config/options.h>
#include <fabric/config/resolved.h>
#include <fabric/config/types/type.h>

namespace fabric::config::detail {

/// A struct without its type.
struct Shape {
  const Type* type;
  /// A new one, as the program has it before anything is read.
  std::function<std::shared_ptr<void>()> make;
};

/// All that a parse depends on.
struct Inputs {
  std::vector<std::string> arguments{};  ///< without the program's name
  /// Environment variables: name and value.
  std::vector<std::pair<std::string, std::string>> variables{};
  std::string folder{};  ///< the working directory
};

/// Either a value, or a screen that was asked for instead.
struct Answer {
  std::shared_ptr<void> value;
  Resolved resolved;
  std::vector<std::string> notes;  ///< what is odd, and no error
  std::string screen;              ///< help or a printed configuration; then there is no value
};

/// Reads all sources. Throws ConfigError with everything that is wrong.
Answer parse(const Shape& shape, const ParserOptions& options, const Inputs& inputs);

/// The inputs of this process: its variables and working directory.
Inputs inputs_of_process(std::vector<std::string> arguments);

/// Throws MisconfigurationError for a struct that takes a name of the parser's own.
void check_names(const Type& type);

}  // namespace fabric::config::detail
