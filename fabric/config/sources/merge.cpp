#include <fabric/config/sources/merge.h>

#include <algorithm>
#include <utility>

#include <fabric/config/nearest_name.h>
#include <fabric/config/sources/references.h>
#include <fabric/config/tree/builder.h>
#include <fabric/config/tree/emitter.h>
#include <fabric/config/types/read.h>
#include <fabric/config/types/words.h>
#include <fabric/config/types/write.h>

namespace fabric::config::detail {
namespace {

void collect_names(const StructType& type, const std::string& path, int depth,
                   std::vector<std::string>& names) {
  constexpr int kDeepest = 20;  // a struct may hold itself
  for (const Field& field : type.fields) {
    const Type& part = bare(field.type());
    if (!is_option(part)) {
      continue;
    }
    const std::string name = joined_path(path, field.option());
    names.push_back(name);
    if (part.kind == Type::Kind::structure && depth < kDeepest) {
      collect_names(structure(part), name, depth + 1, names);
    } else if (part.kind == Type::Kind::choice && depth < kDeepest) {
      const auto begin = static_cast<std::ptrdiff_t>(names.size());
      for (const auto& entry : choice(part).classes().classes) {
        std::vector<std::string> of_class;
        collect_names(entry->options(), name, depth + 4, of_class);
        for (std::string& option : of_class) {  // classes may share names
          if (std::find(names.begin() + begin, names.end(), option) == names.end()) {
            names.push_back(std::move(option));
          }
        }
      }
    }
  }
}

}  // namespace

bool joins(const Node& node) {
  return node.is_map() && node.style == Node::Style::raw;
}

Node without_meaning(Node node) {
  node.text = escape_references(node.text);
  for (Node& item : node.items) {
    item = without_meaning(std::move(item));
  }
  return node;
}

bool is_null(const Node& node) {
  return node.is_null() ||
         (node.is_scalar() && node.style == Node::Style::raw && node.text == "null");
}

std::vector<std::string> option_names(const StructType& type) {
  std::vector<std::string> names;
  collect_names(type, "", 0, names);
  return names;
}

Node at_path(std::string_view path, Node value) {
  const std::size_t dot = path.find('.');
  Node map = Node::map();
  map.style = Node::Style::raw;
  map.place = value.place;
  const std::string name(path.substr(0, dot));
  const Place place = value.key_place.given() ? value.key_place : value.place;
  const bool append = value.append && dot == std::string_view::npos;
  Node item = dot == std::string_view::npos ? std::move(value)
                                            : at_path(path.substr(dot + 1), std::move(value));
  item.key_place = place;
  item.append = append;
  map.add(name, std::move(item));
  return map;
}

const std::vector<std::string>& Merger::all_names() {
  if (all_names_.empty()) {
    all_names_ = option_names(type_);
  }
  return all_names_;
}

void Merger::merge(Node& tree, Node from, std::vector<std::string>* unknown) {
  unknown_ = unknown;
  of_this_merge_.clear();
  if (!from.is_map()) {
    problems_.add(from.place, "", misread(from, "options, each as `name: value`"));
    return;
  }
  merge_struct(type_, tree, &defaults_, std::move(from), "");
}

void Merger::no_such_option(const Node& item, const std::string& path) {
  std::string name = joined_path(path, item.key);
  for (const Node* part = &item; joins(*part) && part->items.size() == 1;) {
    part = &part->items.front();  // the whole name as it was given
    name = joined_path(name, part->key);
  }
  if (unknown_ != nullptr) {
    unknown_->push_back(name);
    return;
  }
  if (problems_.full()) {
    return;
  }
  std::string nearest = nearest_name(name, all_names());
  if (nearest.empty()) {
    std::vector<std::string> of_section;
    for (const std::string& known : all_names()) {
      if (known.starts_with(path)) {
        of_section.push_back(known);
      }
    }
    nearest = nearest_name(name, of_section);
  }
  const Place& place = item.key_place.given() ? item.key_place : item.place;
  const bool argument = place.given() && place.source()->kind == Source::argument;
  problems_.add(
      place, name,
      "no such option" + did_you_mean(argument && !nearest.empty() ? "--" + nearest : nearest));
}

void Merger::merge_struct(const StructType& type, Node& into, const Node* defaults, Node from,
                          const std::string& path) {
  for (Node& item : from.items) {
    const std::size_t dot = item.key.find('.');
    if (dot != std::string::npos && type.find(item.key) == nullptr) {
      const std::string dotted = std::move(item.key);
      Node first = at_path(dotted, std::move(item));
      item = std::move(first.items.front());
    }
    const Field* field = type.find(item.key);
    if (field == nullptr) {
      no_such_option(item, path);
      continue;
    }
    const std::string name = joined_path(path, item.key);
    const Node* value =
        defaults != nullptr && defaults->is_map() ? defaults->find(item.key) : nullptr;
    merge_field(*field, into, value, std::move(item), name);
  }
}

void Merger::merge_field(const Field& field, Node& into, const Node* defaults, Node from,
                         const std::string& path) {
  const Type& type = bare(field.type());
  if (from.append) {
    append(type, into, defaults, std::move(from), path);
  } else if (type.kind == Type::Kind::structure) {
    merge_section(field.type(), into, defaults, std::move(from), path);
  } else if (type.kind == Type::Kind::choice) {
    merge_choice(field.type(), into, defaults, std::move(from), path);
  } else if (is_choice_list(type) && joins(from)) {
    merge_last_element(type, into, defaults, std::move(from), path);
  } else if (is_choice_list(type)) {
    if (std::string wrong = open_text(type, from); !wrong.empty()) {
      problems_.add(from.place, path, std::move(wrong));
      return;
    }
    merge_elements(type, from, 0, path);
    put(into, std::move(from), path);
  } else if (joins(from)) {
    if (type.kind == Type::Kind::map || type.kind == Type::Kind::variant) {
      merge_items(type, into, defaults, std::move(from), path);
    } else {
      const Node& item = from.items.front();
      problems_.add(item.key_place, joined_path(path, item.key),
                    "no such option; " + path + " is " + name_of(type) + ", and no section");
    }
  } else {
    put(into, std::move(from), path);
  }
}

// What was given before is replaced. Within one file nothing comes twice, however it is spelled.
void Merger::put(Node& into, Node from, const std::string& path) {
  Node* there = into.find(from.key);
  const Source* source = from.place.source().get();
  if (source != nullptr && source->kind == Source::file &&
      !of_this_merge_.emplace(source, path).second) {
    problems_.add(from.key_place, path,
                  "comes twice" + (there != nullptr && there->key_place.given()
                                       ? "; the first is at " + there->key_place.text()
                                       : ""));
  } else if (there != nullptr) {
    *there = std::move(from);
  } else {
    into.items.push_back(std::move(from));
  }
}

// `model:` with nothing below it says nothing, where there has to be a section.
void Merger::merge_null_section(const Type& type, Node& into, Node from, const std::string& path) {
  if (type.kind == Type::Kind::optional && !optional(type).required) {
    Node none;
    none.key = from.key;
    none.place = from.place;
    none.key_place = from.key_place;
    put(into, std::move(none), path);
  } else if (from.is_scalar()) {
    const bool is_choice = bare(type).kind == Type::Kind::choice;
    problems_.add(from.place, path, misread(from, is_choice ? name_of(type) : "a section"));
  }
}

// What a section's text stands for: options in braces, or a file. False where that is no section.
bool Merger::open_section(Node& from, std::string& file, const std::string& path) {
  if (from.is_scalar()) {
    Node loaded;
    try {
      if (Files::is_inline(from.text)) {
        loaded = files_.parse(from);
      } else {
        file = absolute_name(from.text, from.place, files_.folder());
        if (std::find(open_files_.begin(), open_files_.end(), file) != open_files_.end()) {
          throw SourceError(from.place, "the file " + shown(from.text) + " is a part of itself");
        }
        loaded = files_.load(from.text, from.place);
      }
    } catch (const SourceError& error) {
      problems_.add(error.place, path, error.what());
      return false;
    }
    loaded.key = from.key;
    loaded.key_place = from.key_place;
    from = std::move(loaded);
  }
  if (!from.is_map()) {
    problems_.add(from.place, path, misread(from, "a section"));
    return false;
  }
  return true;
}

void Merger::merge_section(const Type& type, Node& into, const Node* defaults, Node from,
                           const std::string& path) {
  std::string key = from.key;
  if (is_null(from)) {
    merge_null_section(type, into, std::move(from), path);
    return;
  }
  if (from.is_scalar() && has_references(from)) {
    put(into, std::move(from), path);
    return;
  }
  std::string file;
  if (!open_section(from, file, path)) {
    return;
  }
  Node* there = into.find(key);
  if (there != nullptr && there->is_scalar()) {
    problems_.add(
        from.place, path,
        "a part of what refers to something cannot be given; got " + describe(*there) + " before");
    return;
  }
  if (there == nullptr || !there->is_map()) {
    Node section = Node::map();
    section.place = from.place;
    section.key_place = from.key_place;
    Node& added = there == nullptr ? into.add(key, Node()) : *there;
    section.key = std::move(key);
    added = std::move(section);
    there = &added;
  }
  there->place = from.place;  // what gave the last part of it
  there->key_place = from.key_place;
  Node of_type;  // a section that the program leaves out begins with the defaults of its struct
  if (defaults == nullptr || !defaults->is_map()) {
    of_type = default_node(structure(bare(type)));
    defaults = &of_type;
  }
  const bool is_file = !file.empty();
  if (is_file) {
    open_files_.push_back(std::move(file));
  }
  merge_struct(structure(bare(type)), *there, defaults, std::move(from), path);
  if (is_file) {
    open_files_.pop_back();
  }
}

}  // namespace fabric::config::detail
