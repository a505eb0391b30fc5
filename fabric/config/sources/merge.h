// One source after the other into one tree, whatever way each spells its options.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include <fabric/config/sources/files.h>
#include <fabric/config/tree/node.h>
#include <fabric/config/types/problems.h>
#include <fabric/config/types/type.h>

namespace fabric::config::detail {

/// Merges sources, lowest first, into `tree`, which holds what was given and nothing else.
///
/// - Sections are merged by option; lists, maps and all other values replace what was there.
///   `model.width` in one source and `width` below `model` in another are the same option.
/// - An item of a map (`--weights.a=1`) joins those that are there; `layers+` adds to the list that
///   was given before, or else to the default one.
/// - A section may be the name of a file, which begins at the file that names it.
///
/// What no option is called becomes a problem, with the nearest name.
class Merger {
 public:
  /// @param defaults the values of the program, as write() gives them
  Merger(const StructType& type, const Node& defaults, Files& files, Problems& problems)
      : type_(type), defaults_(defaults), files_(files), problems_(problems) {}

  /// @param unknown whether options that there are not are let go, with their names put there
  void merge(Node& tree, Node from, std::vector<std::string>* unknown = nullptr);

  /// The names of all options and sections, for hints.
  const std::vector<std::string>& all_names();

 private:
  void merge_struct(const StructType& type, Node& into, const Node* defaults, Node from,
                    const std::string& path);
  void merge_field(const Field& field, Node& into, const Node* defaults, Node from,
                   const std::string& path);
  void merge_section(const Type& type, Node& into, const Node* defaults, Node from,
                     const std::string& path);
  void merge_items(const Type& type, Node& into, const Node* defaults, Node from,
                   const std::string& path);
  void append(const Type& type, Node& into, const Node* defaults, Node from,
              const std::string& path);
  void put(Node& into, Node from, const std::string& path);
  void no_such_option(const Node& item, const std::string& path);

  const StructType& type_;
  const Node& defaults_;
  Files& files_;
  Problems& problems_;
  std::vector<std::string> open_files_;
  std::vector<std::string> all_names_;
  std::set<std::pair<const Source*, std::string>> of_this_merge_;  // what files gave, by path
  std::vector<std::string>* unknown_ = nullptr;
};

/// A value for an option by its path: nested maps that join what is there (style raw).
Node at_path(std::string_view path, Node value);

/// The names of all options below a type, sections with theirs: "model", "model.width".
std::vector<std::string> option_names(const StructType& type);

}  // namespace fabric::config::detail
