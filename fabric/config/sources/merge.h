// One source after the other into one tree, whatever way each spells its options.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include <fabric/config/classes/table.h>
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
/// - A class that is chosen by name becomes a block (classes/block.h), whatever form it is given
/// in.
///   Where a later source chooses another class, what was given before stays as far as the new
///   class takes it, and a note says what does not.
///
/// What no option is called becomes a problem, with the nearest name.
class Merger {
 public:
  /// @param defaults the values of the program, as write() gives them
  /// @param notes gets a line for each change of a class that drops something
  Merger(const StructType& type, const Node& defaults, Files& files, Problems& problems,
         std::vector<std::string>& notes)
      : type_(type), defaults_(defaults), files_(files), problems_(problems), notes_(notes) {}

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
  void merge_null_section(const Type& type, Node& into, Node from, const std::string& path);
  bool open_section(Node& from, std::string& file, const std::string& path);
  void merge_items(const Type& type, Node& into, const Node* defaults, Node from,
                   const std::string& path);
  void append(const Type& type, Node& into, const Node* defaults, Node from,
              const std::string& path);
  void put(Node& into, Node from, const std::string& path);
  void no_such_option(const Node& item, const std::string& path);

  // merge_choice.cpp
  void merge_choice(const Type& type, Node& into, const Node* defaults, Node from,
                    const std::string& path);
  void choose_class(const ClassTable& classes, const ClassEntry& entry, Node& block,
                    const Node* defaults, Node name, const std::string& path);
  void merge_options(const ClassTable& classes, const ClassEntry* entry, Node& block,
                     const Node* defaults, Node from, const std::string& path);
  void no_such_class_option(const ClassEntry& entry, const Node& option, const std::string& name,
                            const std::string& path);
  void merge_elements(const Type& list_type, Node& whole, std::size_t first,
                      const std::string& path);
  void merge_element(const Type& list_type, Node& whole, std::size_t index, Node from, Node before,
                     const std::string& path);
  void merge_last_element(const Type& type, Node& into, const Node* defaults, Node from,
                          const std::string& path);
  static const ClassEntry* chosen_of(const ClassTable& classes, const Node* block,
                                     const Node* defaults);
  static bool has_field(const StructType& type, std::string_view name);
  static bool is_choice_list(const Type& type);

  const StructType& type_;
  const Node& defaults_;
  Files& files_;
  Problems& problems_;
  std::vector<std::string>& notes_;
  std::vector<std::string> open_files_;
  std::vector<std::string> all_names_;
  std::set<std::pair<const Source*, std::string>> of_this_merge_;  // what files gave, by path
  std::vector<std::string>* unknown_ = nullptr;
};

/// Whether a map was made by dots in a name: its items join what is there.
bool joins(const Node& node);

/// A default as a source would have to give it: a `${` in it is meant as it stands.
Node without_meaning(Node node);

/// Whether a value is null, or the text of an argument or a variable that says so.
bool is_null(const Node& node);

/// A value for an option by its path: nested maps that join what is there (style raw).
Node at_path(std::string_view path, Node value);

/// The names of all options below a type, sections and all classes with theirs: "model",
/// "model.width".
std::vector<std::string> option_names(const StructType& type);

}  // namespace fabric::config::detail
