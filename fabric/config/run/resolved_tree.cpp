#include <fabric/config/run/resolved_tree.h>

#include <algorithm>

#include <nlohmann/json.hpp>

#include <accelerators/error.h>
#include <fabric/config/classes/block.h>
#include <fabric/config/classes/choice.h>
#include <fabric/config/links/paths.h>
#include <fabric/config/nearest_name.h>
#include <fabric/config/sources/merge.h>
#include <fabric/config/tree/emitter.h>
#include <fabric/config/types/problems.h>
#include <fabric/config/types/words.h>
#include <fabric/config/types/write.h>
#include <fabric/version.h>

namespace fabric::config {
namespace detail {
namespace {

const Node* part(const Node* node, std::string_view key) {
  return node != nullptr && node->is_map() ? node->find(key) : nullptr;
}

// What the options of a class begin with: what the program chose, where it chose the same class.
Node class_defaults(const ClassTable& classes, const ClassEntry& entry, const Node* defaults) {
  const Node* options = chosen(classes, defaults) == &entry ? part(defaults, kInitArgs) : nullptr;
  return options != nullptr ? *options : default_node(entry.options());
}

void collect(const StructType& type, const Node& values, const Node* given, const Node* defaults,
             const std::string& path, std::vector<Option>& options);

// The class is an option, and all of its options are.
void collect_choice(const ClassTable& classes, const Node& value, const Node* given,
                    const Node* defaults, const std::string& path, std::vector<Option>& options) {
  const ClassEntry& entry = *chosen(classes, &value);
  const Node* name = part(given, kClassPath);
  options.push_back({path, entry.name, name != nullptr ? name->place : Place(),
                     chosen(classes, defaults) != &entry});
  if (const Node* values = part(&value, kInitArgs)) {
    const Node begin = class_defaults(classes, entry, defaults);
    collect(entry.options(), *values, part(given, kInitArgs), &begin, path, options);
  }
}

// Sections are walked through, everything else is an option.
void collect(const StructType& type, const Node& values, const Node* given, const Node* defaults,
             const std::string& path, std::vector<Option>& options) {
  for (const Field& field : type.fields) {
    const std::string name(field.option());
    const Node* value = part(&values, name);
    if (value == nullptr) {
      continue;  // a Required without a value, or no option
    }
    const Type& field_type = bare(field.type());
    const Node* here = part(given, name);
    const Node* default_value = part(defaults, name);
    const std::string option = joined_path(path, name);
    if (field_type.kind == Type::Kind::structure && value->is_map()) {
      collect(structure(field_type), *value, here, default_value, option, options);
    } else if (field_type.kind == Type::Kind::choice && value->is_map()) {
      collect_choice(choice(field_type).classes(), *value, here, default_value, option, options);
    } else {
      options.push_back({option, one_line(*value), here != nullptr ? here->place : Place(),
                         default_value == nullptr || !default_value->same_value(*value)});
    }
  }
}

// What --print_config leaves out; whole sections where nothing is left.
Node pruned(const StructType& type, const Node& values, const Node* defaults,
            const PrintOptions& options) {
  Node kept = Node::map();
  for (const Node& value : values.items) {
    const Field* field = type.find(value.key);
    const Type& field_type = bare(field->type());
    const Node* default_value = part(defaults, value.key);
    if (field_type.kind == Type::Kind::structure && value.is_map()) {
      Node section = pruned(structure(field_type), value, default_value, options);
      const bool appeared = default_value == nullptr || !default_value->is_map();
      if (!section.items.empty() || (appeared && options.only_changed)) {
        kept.add(value.key, std::move(section));
      }
    } else if (field_type.kind == Type::Kind::choice && value.is_map()) {
      const ClassTable& classes = choice(field_type).classes();
      const ClassEntry& entry = *chosen(classes, &value);
      const Node begin = class_defaults(classes, entry, default_value);
      const Node* init_args = part(&value, kInitArgs);
      Node section =
          init_args == nullptr ? Node::map() : pruned(entry.options(), *init_args, &begin, options);
      if (options.only_changed && section.items.empty() &&
          chosen(classes, default_value) == &entry) {
        continue;
      }
      Node& block = kept.add(value.key, Node::map());
      block.items.push_back(*value.find(kClassPath));
      if (!section.items.empty()) {
        block.add(std::string(kInitArgs), std::move(section));
      }
    } else if (!(options.only_set && value.is_null()) &&
               !(options.only_changed && default_value != nullptr &&
                 default_value->same_value(value))) {
      kept.items.push_back(value);
    }
  }
  return kept;
}

std::string help_of(const StructType& type, const Node& values, std::string_view path) {
  const std::size_t dot = path.find('.');
  const Field* field = type.find(path.substr(0, dot));
  if (field == nullptr) {
    return {};
  }
  if (dot == std::string_view::npos) {
    return field->help;
  }
  const Type& below = bare(field->type());
  const Node* value = values.find(field->option());
  if (value == nullptr) {
    return {};
  }
  path.remove_prefix(dot + 1);
  if (below.kind == Type::Kind::structure) {
    return help_of(structure(below), *value, path);
  }
  const std::string begin = std::string(kInitArgs) + ".";
  if (below.kind == Type::Kind::choice && path.starts_with(begin)) {
    const ClassEntry& entry = *chosen(choice(below).classes(), value);
    return help_of(entry.options(), *value->find(kInitArgs), path.substr(begin.size()));
  }
  return {};
}

nlohmann::ordered_json to_json(const Node& node) {
  nlohmann::ordered_json json;
  switch (node.kind) {
    case Node::Kind::null:
      break;
    case Node::Kind::list:
      json = nlohmann::ordered_json::array();
      for (const Node& item : node.items) {
        json.push_back(to_json(item));
      }
      break;
    case Node::Kind::map:
      json = nlohmann::ordered_json::object();
      for (const Node& item : node.items) {
        json[item.key] = to_json(item);
      }
      break;
    case Node::Kind::scalar:
      json = node.text;
      if (node.style == Node::Style::plain) {
        const std::optional<Integer> integer = integer_of(node.text);
        const std::optional<double> real = real_of(node.text);
        if (const std::optional<bool> truth = bool_of(node.text)) {
          json = *truth;
        } else if (integer && integer->negative && integer->magnitude > 0) {
          json = -static_cast<std::int64_t>(integer->magnitude - 1) - 1;
        } else if (integer) {
          json = integer->magnitude;
        } else if (real && *real == *real && *real - *real == 0) {  // JSON has no infinity
          json = *real;
        }
      }
      break;
  }
  return json;
}

}  // namespace

std::string to_yaml(const ResolvedTree& tree, const PrintOptions& options) {
  const Node values =
      pruned(*tree.type, without(tree.values, tree.linked), &tree.defaults, options);
  return to_yaml(
      values, options.comments
                  ? [&](const std::string& path) { return help_of(*tree.type, tree.values, path); }
                  : CommentOf());
}

void finish(ResolvedTree& tree) {
  collect(*tree.type, tree.values, &tree.given, &tree.defaults, "", tree.options);
  tree.yaml = to_yaml(without(tree.values, tree.linked));
}

void mark(const Type& type, void* value, const Resolved& resolved, const std::string& section) {
  if (type.kind == Type::Kind::optional) {
    if (void* held = optional(type).get(value)) {
      mark(optional(type).value(), held, resolved, section);
    }
  } else if (type.kind == Type::Kind::choice) {
    if (Choice& here = choice(type).get(value); here.has_value()) {
      mark(here.entry().options(), here.options(), resolved, section);
    }
  } else if (type.kind == Type::Kind::structure) {
    for (const Field& field : structure(type).fields) {
      const Type& part = field.type();
      field.visit(
          value,
          [&](void* here) {
            if (part.kind == Type::Kind::resolved) {
              *static_cast<Resolved*>(here) = Resolved(resolved.tree(), section);
            } else {
              mark(part, here, resolved, joined_path(section, field.option()));
            }
          },
          /*store=*/false);
    }
  }
}

}  // namespace detail

const std::vector<Option>& Resolved::options() const {
  return tree_->options;
}

const std::vector<std::string>& Resolved::skipped_links() const {
  return tree_->skipped_links;
}

const Place& Resolved::origin(std::string_view path) const {
  const detail::Node* node = &tree_->given;
  std::vector<std::string> names = detail::option_names(*tree_->type);
  std::string_view rest = path;
  while (node != nullptr && !rest.empty()) {
    const std::size_t dot = rest.find('.');
    const detail::Node* below = detail::part_of(node, rest.substr(0, dot));
    rest = dot == std::string_view::npos ? std::string_view() : rest.substr(dot + 1);
    node = below;
  }
  if (node != nullptr) {
    const detail::Node* class_name = detail::part(node, detail::kClassPath);
    return class_name != nullptr ? class_name->place : node->place;
  }
  const std::string name(path);
  FABRIC_CHECK(Misconfiguration, std::find(names.begin(), names.end(), name) != names.end(),
               "[fabric.config] no such option; got '", name, "'",
               detail::did_you_mean(detail::nearest_name(path, names)));
  static const Place none;
  return none;
}

const std::string& Resolved::yaml() const {
  return tree_->yaml;
}

std::string Resolved::json() const {
  // A default of the program may be no UTF-8.
  return detail::to_json(detail::without(tree_->values, tree_->linked))
      .dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::uint64_t Resolved::hash() const {
  std::uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  for (const Option& option : tree_->options) {
    for (const std::string* text : {&option.path, &option.text}) {
      for (const char c : *text) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
      }
      hash = (hash ^ 0xffu) * 0x100000001b3u;
    }
  }
  return hash;
}

}  // namespace fabric::config
