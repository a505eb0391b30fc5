// Options by their paths, through classes that are chosen and lists of them.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <fabric/config/tree/node.h>
#include <fabric/config/types/type.h>

namespace fabric::config::detail {

/// "model" of "model.width"; `rest` becomes "width".
std::string_view first_part(std::string_view& rest);

/// Whether one is the other or a section of it: "model" and "model.width".
bool overlap(std::string_view a, std::string_view b);
bool is_below(std::string_view path, std::string_view section);

/// What an option may be: a type for each class on the way that has it. None for a wrong name.
struct PathTypes {
  std::vector<const Type*> types{};
  /// Whether more classes may be registered later that have it.
  bool open = false;
};
/// @param in_lists whether a path goes on in the elements of a list of classes
PathTypes types_at(const StructType& root, std::string_view path, bool in_lists);

/// Where a path ends in the values of a configuration.
struct Found {
  const Node* value = nullptr;
  const Type* type = nullptr;  ///< as declared; null where the path does not lead there
  std::string why{};           ///< "Big has no option 'width'"
};
Found find_value(const StructType& root, const Node& values, std::string_view path);

/// Visits the place of a path in what was given, which is made where it is not there; in lists of
/// classes that of each element whose class has it.
/// @param values of the whole configuration, which tell the classes
/// @returns why there is no such place; empty where there is one
using VisitPlace = std::function<void(Node& parent, const std::string& key, const Type& type)>;
std::string visit_place(const StructType& root, const Node& values, Node& given,
                        std::string_view path, const VisitPlace& visit);

/// The tree without what is at these paths.
Node without(const Node& tree, const std::vector<std::string>& paths);

}  // namespace fabric::config::detail
