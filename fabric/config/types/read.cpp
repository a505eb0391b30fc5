#include <fabric/config/types/read.h>

#include <algorithm>
#include <utility>

#include <accelerators/text.h>
#include <fabric/config/classes/block.h>
#include <fabric/config/classes/choice.h>
#include <fabric/config/nearest_name.h>
#include <fabric/config/tree/builder.h>
#include <fabric/config/tree/yaml.h>
#include <fabric/config/types/scalars.h>
#include <fabric/config/types/words.h>

namespace fabric::config::detail {
namespace {

class Reader {
 public:
  explicit Reader(Problems& problems) : problems_(problems) {}

  void read(const Type& type, void* value, const Node& given, const std::string& path) {
    if (problems_.full()) {
      return;
    }
    if (given.is_scalar() && given.style == Node::Style::raw && wants_parts(type)) {
      Node opened = given;
      if (std::string wrong = open_text(type, opened); !wrong.empty()) {
        problems_.add(given.place, path, std::move(wrong));
        return;
      }
      if (!opened.is_scalar()) {
        read(type, value, opened, path);
        return;
      }
    }
    switch (type.kind) {
      case Type::Kind::scalar:
        if (std::string wrong = scalar(type).read(scalar(type), value, given); !wrong.empty()) {
          problems_.add(given.place, path, std::move(wrong));
        }
        return;
      case Type::Kind::optional:
        return read_optional(optional(type), value, given, path);
      case Type::Kind::list:
        return read_list(list(type), value, given, path);
      case Type::Kind::map:
        return read_map(map(type), value, given, path);
      case Type::Kind::structure:
        return read_struct(structure(type), value, given, path);
      case Type::Kind::variant:
        return read_variant(variant(type), value, given, path);
      case Type::Kind::choice:
        return read_choice(choice(type), value, given, path);
      case Type::Kind::provided:
      case Type::Kind::resolved:
        return;
    }
  }

 private:
  static bool wants_parts(const Type& type) {
    return type.kind == Type::Kind::list || type.kind == Type::Kind::map ||
           type.kind == Type::Kind::structure || type.kind == Type::Kind::choice;
  }

  void read_optional(const OptionalType& type, void* value, const Node& node,
                     const std::string& path) {
    const bool raw_null = node.is_scalar() && node.style == Node::Style::raw && node.text == "null";
    if (!node.is_null() && !(raw_null && !type.required)) {
      void* held = type.get(value);
      read(type.value(), held != nullptr ? held : type.emplace(value), node, path);
    } else if (type.required) {
      problems_.add(node.place, path, misread(node, name_of(type)));
    } else {
      type.reset(value);
    }
  }

  void read_list(const ListType& type, void* value, const Node& node, const std::string& path) {
    if (!node.is_list()) {
      problems_.add(node.place, path,
                    misread(node, name_of(type), node.is_scalar() ? "write [a, b]." : ""));
      return;
    }
    if (type.fixed > 0 && node.items.size() != type.fixed) {
      problems_.add(node.place, path, misread(node, name_of(type)));
      return;
    }
    type.resize(value, 0);  // elements begin as those of a new list
    type.resize(value, node.items.size());
    for (std::size_t i = 0; i < node.items.size(); ++i) {
      type.visit(value, i, [&](void* element) {
        read(type.element(), element, node.items[i], path + "[" + std::to_string(i) + "]");
      });
    }
  }

  void read_map(const MapType& type, void* value, const Node& node, const std::string& path) {
    if (!node.is_map()) {
      problems_.add(node.place, path,
                    misread(node, name_of(type), node.is_scalar() ? "write {name: value}." : ""));
      return;
    }
    type.clear(value);
    for (const Node& item : node.items) {
      type.visit(value, item.key, [&](void* element) {
        read(type.value(), element, item, joined_path(path, item.key));
      });
    }
  }

  void read_struct(const StructType& type, void* value, const Node& node, const std::string& path) {
    if (!node.is_map()) {
      problems_.add(
          node.place, path,
          misread(node, "a section with some of " + fabric::detail::list_or(type.names())));
      return;
    }
    for (const Node& item : node.items) {
      const Field* field = type.find(item.key);
      if (field == nullptr) {
        problems_.add(
            item.key_place, joined_path(path, item.key),
            "no such option" + did_you_mean(joined_nearest(path, item.key, type.names())));
        continue;
      }
      field->visit(
          value, [&](void* part) { read(field->type(), part, item, joined_path(path, item.key)); },
          /*store=*/true);
    }
  }

  static std::string joined_nearest(const std::string& path, const std::string& key,
                                    const std::vector<std::string>& names) {
    const std::string nearest = nearest_name(key, names);
    return nearest.empty() ? "" : joined_path(path, nearest);
  }

  // A name, or a block. Options without a class are those of the class that is chosen already.
  void read_choice(const ChoiceType& type, void* value, const Node& node, const std::string& path) {
    if (node.is_list() || node.is_null()) {
      problems_.add(node.place, path, misread(node, name_of(type)));
      return;
    }
    Choice& here = type.get(value);
    const Block block = node.is_map() ? take_apart(node) : Block{.name = &node};
    const ClassEntry* entry = block.name == nullptr ? (here.has_value() ? &here.entry() : nullptr)
                                                    : chosen(type.classes(), block.name);
    if (block.name != nullptr && entry == nullptr) {
      problems_.add(block.name->place, path, no_such_class(type.classes(), *block.name));
    } else if (entry == nullptr) {
      problems_.add(node.place, path,
                    "options without a class; expected " + type.classes().list() +
                        ". Hint: name it with --" + path + "=…, or as class_path.");
    } else {
      if (!here.is(entry->name)) {
        here.choose(*entry);
      }
      read_struct(entry->options(), here.options(), block.options, path);
    }
  }

  // The first alternative that takes the node; texts take all, so they come last.
  void read_variant(const VariantType& type, void* value, const Node& node,
                    const std::string& path) {
    std::vector<std::size_t> order(type.alternatives.size());
    for (std::size_t i = 0; i < order.size(); ++i) {
      order[i] = i;
    }
    std::stable_partition(order.begin(), order.end(),
                          [&](std::size_t i) { return !is_text(bare(type.alternatives[i]())); });
    std::vector<Problem> closest;
    for (const std::size_t i : order) {
      Problems here;
      Reader(here).read(type.alternatives[i](), type.emplace(value, i), node, path);
      if (here.empty()) {
        return;
      }
      // What went wrong inside of a section or list says more than that there is none.
      if (here.list().front().option != path) {
        closest = here.take();
      }
    }
    if (closest.empty()) {
      problems_.add(node.place, path, misread(node, name_of(type)));
    }
    for (Problem& problem : closest) {
      problems_.add(problem.place, problem.option, problem.text);
    }
  }

  static bool is_text(const Type& type) { return &type == &builtin(Of<std::string>()); }

  Problems& problems_;
};

// "1,2" as a list of numbers.
Node split(const Node& text) {
  Node made = Node::list();
  made.place = text.place;
  std::string_view rest = text.text;
  while (true) {
    const std::size_t comma = rest.find(',');
    Node item = Node::scalar(std::string(fabric::detail::trim(rest.substr(0, comma))));
    item.place = text.place;
    made.items.push_back(std::move(item));
    if (comma == std::string_view::npos) {
      return made;
    }
    rest.remove_prefix(comma + 1);
  }
}

// All nodes of a text that came as one argument have its place.
void set_places(Node& node, const Place& place) {
  node.place = node.key_place = place;
  for (Node& item : node.items) {
    set_places(item, place);
  }
}

}  // namespace

void read(const Type& type, void* value, const Node& node, const std::string& path,
          Problems& problems) {
  Reader(problems).read(type, value, node, path);
}

std::string open_text(const Type& type, Node& node) {
  const Type& wanted = bare(type);
  if (!node.is_scalar() || node.style != Node::Style::raw) {
    return {};
  }
  const std::string_view text = fabric::detail::trim(node.text);
  const bool is_list = wanted.kind == Type::Kind::list;
  const bool is_map = wanted.kind == Type::Kind::map || wanted.kind == Type::Kind::structure ||
                      wanted.kind == Type::Kind::choice;
  if ((is_list && text.starts_with('[')) || (is_map && text.starts_with('{'))) {
    Node opened;
    try {
      opened = read_yaml(node.text, node.place.source());
    } catch (const SourceError& error) {
      return misread(node, name_of(wanted)) + ": " + error.what();
    }
    opened.key = std::move(node.key);
    opened.append = node.append;
    const Place place = node.place;
    set_places(opened, place);
    opened.key_place = node.key_place;
    node = std::move(opened);
  } else if (is_list && !text.empty()) {
    const Type& element = bare(list(wanted).element());
    if (element.kind == Type::Kind::scalar && scalar(element).numeric) {
      Node opened = split(node);
      opened.key = std::move(node.key);
      opened.key_place = node.key_place;
      opened.append = node.append;
      node = std::move(opened);
    }
  }
  return {};
}

}  // namespace fabric::config::detail
