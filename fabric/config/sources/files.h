// Configuration files, and texts in their place.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include <fabric/config/place.h>
#include <fabric/config/tree/node.h>

namespace fabric::config::detail {

/// Reads files; each once, as a pipe cannot be read again.
class Files {
 public:
  /// @param folder the working directory: where relative paths of the command line begin
  explicit Files(std::string folder) : folder_(std::move(folder)) {}

  /// The content of a file: JSON if its name ends so, else YAML.
  /// @param name as it was written; relative ones begin at the folder of `place`
  /// Throws SourceError for a file that cannot be read or is no configuration.
  Node load(const std::string& name, const Place& place);

  /// The text `{a: 1}` of an argument or a variable.
  Node parse(const Node& text) const;

  /// Whether the text of an option is itself a configuration, and no path to one.
  static bool is_inline(std::string_view text);

  const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
  std::map<std::string, Node> read_;
};

inline constexpr const char* kStandardInput = "/dev/stdin";

/// The whole path of a file that is named at a place.
std::string absolute_name(const std::string& name, const Place& place, const std::string& folder);

}  // namespace fabric::config::detail
