#include <fabric/config/run/commands.h>

#include <algorithm>
#include <utility>

#include <fabric/config/links/paths.h>
#include <fabric/config/types/problems.h>

namespace fabric::config::detail {
namespace {

const StructType& section_of(const StructType& root, const std::string& command) {
  return structure(bare(root.find(command)->type()));
}

}  // namespace

std::string path_of_command(const StructType& root, const std::string& command,
                            const std::string& name) {
  std::string_view rest = name;
  const std::string_view first = first_part(rest);
  const bool of_root =
      section_of(root, command).find(first) == nullptr && root.find(first) != nullptr;
  return of_root ? name : joined_path(command, name);
}

Node below_command(const StructType& root, const std::string& command, Node from) {
  if (!from.is_map() ||
      (from.find(command) != nullptr && section_of(root, command).find(command) == nullptr)) {
    return from;
  }
  Node whole = Node::map();
  whole.place = from.place;
  Node section = whole;
  for (Node& item : from.items) {
    const bool of_root = path_of_command(root, command, item.key) == item.key;
    (of_root ? whole : section).items.push_back(std::move(item));
  }
  whole.add(command, std::move(section));
  return whole;
}

void drop_commands(Node& from, const std::vector<std::string>& commands) {
  std::erase_if(from.items, [&](const Node& item) {
    return std::find(commands.begin(), commands.end(), item.key) != commands.end();
  });
}

Variables without_commands(Variables variables, const std::string& prefix,
                           const std::vector<std::string>& commands) {
  std::erase_if(variables, [&](const auto& variable) {
    return !prefix.empty() &&
           std::any_of(commands.begin(), commands.end(), [&](const std::string& command) {
             return variable.first.starts_with(variable_name(prefix, command) + "__");
           });
  });
  return variables;
}

}  // namespace fabric::config::detail
