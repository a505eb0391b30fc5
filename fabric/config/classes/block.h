// A choice as a tree: `{class_path: Net, init_args: {width: 3}}`, whatever form it was given in.
#pragma once

#include <string>
#include <string_view>

#include <fabric/config/classes/table.h>
#include <fabric/config/tree/node.h>

namespace fabric::config::detail {

inline constexpr std::string_view kClassPath = "class_path";
inline constexpr std::string_view kInitArgs = "init_args";

/// A block taken apart. In the short form, options stand beside `class_path`.
struct Block {
  const Node* name = nullptr;  ///< null where no class is named
  Node options = Node::map();
  const Node* init_args = nullptr;  ///< where it is no map: a file, or a text in braces
};
Block take_apart(const Node& map);

/// The class that a block, or a name alone, chooses; null for none and for one that there is not.
const ClassEntry* chosen(const ClassTable& classes, const Node* block);

/// A part of a section by its name. In the block of a class that is an option of the class.
const Node* part_of(const Node* section, std::string_view name);

/// "no such class; got 'Bgi'; expected Net or Big. Did you mean Big?"
std::string no_such_class(const ClassTable& classes, const Node& name);

}  // namespace fabric::config::detail
