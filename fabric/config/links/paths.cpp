#include <fabric/config/links/paths.h>

#include <algorithm>
#include <utility>

#include <fabric/config/classes/block.h>

namespace fabric::config::detail {
namespace {

// The type of the elements of a list of classes; null for everything else.
const ChoiceType* element_choice(const Type& type) {
  if (type.kind != Type::Kind::list || bare(list(type).element()).kind != Type::Kind::choice) {
    return nullptr;
  }
  return &choice(bare(list(type).element()));
}

std::string_view without_init_args(std::string_view path) {
  std::string_view rest = path;
  return first_part(rest) == kInitArgs && !rest.empty() ? rest : path;
}

void add_types(const Type& type, std::string_view path, bool in_lists, PathTypes& into) {
  if (path.empty()) {
    into.types.push_back(&type);
    return;
  }
  const Type& here = bare(type);
  const ChoiceType* classes = here.kind == Type::Kind::choice ? &choice(here)
                              : in_lists                      ? element_choice(here)
                                                              : nullptr;
  if (classes != nullptr) {
    into.open = into.open || classes->classes().open;
    for (const auto& entry : classes->classes().classes) {
      add_types(entry->options(), without_init_args(path), in_lists, into);
    }
  } else if (here.kind == Type::Kind::structure) {
    const Field* field = structure(here).find(first_part(path));
    if (field != nullptr) {
      add_types(field->type(), path, in_lists, into);
    }
  }
}

std::string lacks(const ClassEntry& entry, std::string_view name) {
  return entry.name + " has no option '" + std::string(name) + "'";
}

class Places {
 public:
  explicit Places(const VisitPlace& visit) : visit_(visit) {}

  std::string in_struct(const StructType& type, const Node* values, Node& given,
                        std::string_view path, const std::string& section) {
    const std::string key(first_part(path));
    const Field* field = type.find(key);
    if (field == nullptr) {
      return "no such option";
    }
    if (path.empty()) {
      visit_(given, key, field->type());
      return {};
    }
    return in_value(field->type(), part_of(values, key), given, key, path,
                    section.empty() ? key : section + "." + key);
  }

 private:
  // A value that has parts, below `key` of `parent`.
  std::string in_value(const Type& declared, const Node* values, Node& parent,
                       const std::string& key, std::string_view path, const std::string& name) {
    const Type& type = bare(declared);
    if (values == nullptr || values->is_null()) {
      return type.kind == Type::Kind::choice ? name + " has no class" : name + " is left out";
    }
    if (type.kind == Type::Kind::structure) {
      return in_struct(structure(type), values, map_at(parent, key), path, name);
    }
    if (type.kind == Type::Kind::choice) {
      return in_block(choice(type).classes(), *values, block_at(parent, key, *values), path, name);
    }
    const ChoiceType* element = element_choice(type);
    if (element == nullptr || !values->is_list()) {
      return "no such option";
    }
    Node* list = parent.find(key);
    if (list == nullptr || !list->is_list() || list->items.size() != values->items.size()) {
      Node whole = *values;  // the program's own elements
      whole.key = key;
      list = list == nullptr ? &parent.add(key, Node()) : list;
      *list = std::move(whole);
    }
    std::string why = name + " has no element";
    bool placed = false;
    for (std::size_t i = 0; i < list->items.size(); ++i) {
      why = in_block(element->classes(), values->items[i], list->items[i], path, name);
      placed = placed || why.empty();
    }
    return placed ? std::string() : why;
  }

  std::string in_block(const ClassTable& classes, const Node& values, Node& block,
                       std::string_view path, const std::string& name) {
    const ClassEntry* entry = chosen(classes, &values);
    if (entry == nullptr) {
      return name + " has no class";
    }
    path = without_init_args(path);
    std::string_view rest = path;
    const std::string_view option = first_part(rest);
    if (entry->options().find(option) == nullptr) {
      return lacks(*entry, option);
    }
    return in_struct(entry->options(), values.find(kInitArgs),
                     map_at(block, std::string(kInitArgs)), path, name);
  }

  static Node& map_at(Node& parent, const std::string& key) {
    Node* there = parent.find(key);
    if (there == nullptr) {
      there = &parent.add(key, Node::map());
    }
    return *there;
  }

  // A name alone becomes a block.
  static Node& block_at(Node& parent, const std::string& key, const Node& values) {
    Node& block = map_at(parent, key);
    if (!block.is_map()) {
      Node made = Node::map();
      made.key = key;
      made.place = block.place;
      made.key_place = block.key_place;
      Node name = *values.find(kClassPath);
      name.place = block.place;
      made.items.push_back(std::move(name));
      block = std::move(made);
    }
    return block;
  }

  const VisitPlace& visit_;
};

void remove(Node& node, std::string_view path) {
  if (node.is_list()) {
    for (Node& item : node.items) {
      remove(item, path);
    }
    return;
  }
  std::string_view rest = path;
  const std::string_view key = first_part(rest);
  Node* part = node.is_map() ? node.find(key) : nullptr;
  if (part == nullptr) {
    if (Node* options = node.is_map() ? node.find(kInitArgs) : nullptr) {
      remove(*options, path);
      if (options->items.empty()) {
        std::erase_if(node.items, [](const Node& item) { return item.key == kInitArgs; });
      }
    }
  } else if (rest.empty()) {
    std::erase_if(node.items, [key](const Node& item) { return item.key == key; });
  } else {
    remove(*part, rest);
  }
}

}  // namespace

std::string_view first_part(std::string_view& rest) {
  const std::size_t dot = rest.find('.');
  const std::string_view first = rest.substr(0, dot);
  rest = dot == std::string_view::npos ? std::string_view() : rest.substr(dot + 1);
  return first;
}

bool is_below(std::string_view path, std::string_view section) {
  return path.size() > section.size() && path.starts_with(section) && path[section.size()] == '.';
}

bool overlap(std::string_view a, std::string_view b) {
  return a == b || is_below(a, b) || is_below(b, a);
}

PathTypes types_at(const StructType& root, std::string_view path, bool in_lists) {
  PathTypes found;
  add_types(root, path, in_lists, found);
  return found;
}

Found find_value(const StructType& root, const Node& values, std::string_view path) {
  Found found{&values, &root, {}};
  std::string name;
  while (!path.empty()) {
    const Type& type = bare(*found.type);
    if (found.value->is_null()) {
      return {nullptr, nullptr, name + " is left out"};
    }
    const StructType* fields = nullptr;
    if (type.kind == Type::Kind::choice) {
      const ClassEntry* entry = chosen(choice(type).classes(), found.value);
      path = without_init_args(path);
      std::string_view rest = path;
      if (const std::string_view option = first_part(rest);
          entry == nullptr || entry->options().find(option) == nullptr) {
        return {nullptr, nullptr,
                entry == nullptr ? name + " has no class" : lacks(*entry, option)};
      }
      fields = &entry->options();
    } else if (type.kind == Type::Kind::structure) {
      fields = &structure(type);
    }
    const std::string_view key = first_part(path);
    if (fields == nullptr || fields->find(key) == nullptr) {  // of another class than this
      return {nullptr, nullptr, name + " is " + name_of(type)};
    }
    name += name.empty() ? "" : ".";
    name += key;
    found.type = &fields->find(key)->type();
    found.value = part_of(found.value, key);
    if (found.value == nullptr) {
      const bool is_choice = bare(*found.type).kind == Type::Kind::choice;
      return {nullptr, nullptr, name + (is_choice ? " has no class" : " has no value")};
    }
  }
  return found;
}

std::string visit_place(const StructType& root, const Node& values, Node& given,
                        std::string_view path, const VisitPlace& visit) {
  return Places(visit).in_struct(root, &values, given, path, "");
}

Node without(const Node& tree, const std::vector<std::string>& paths) {
  Node made = tree;
  for (const std::string& path : paths) {
    remove(made, path);
  }
  return made;
}

}  // namespace fabric::config::detail
