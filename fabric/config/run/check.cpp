#include <fabric/config/run/check.h>

#include <algorithm>
#include <functional>

#include <fabric/config/classes/block.h>
#include <fabric/config/classes/choice.h>
#include <fabric/config/types/write.h>

namespace fabric::config::detail {
namespace {

// Calls `visit` for a value and all values in it, parts first.
using VisitValue =
    std::function<void(const Type& type, void* value, const Node* given, const std::string& path)>;

void walk(const Type& type, void* value, const Node* given, const std::string& path,
          const VisitValue& visit) {
  // Of a text that stands for all of it, the text is the place of every part.
  const bool one_text = given != nullptr && given->is_scalar();
  const auto part = [&](std::string_view key) {
    return one_text ? given : given != nullptr && given->is_map() ? given->find(key) : nullptr;
  };
  if (type.kind == Type::Kind::optional) {
    if (void* held = optional(type).get(value)) {
      walk(optional(type).value(), held, given, path, visit);
    }
  } else if (type.kind == Type::Kind::list && list(type).element().kind != Type::Kind::scalar) {
    for (std::size_t i = 0; i < list(type).size(value); ++i) {
      const bool known = given != nullptr && given->is_list() && i < given->items.size();
      list(type).visit(value, i, [&](void* element) {
        walk(list(type).element(), element,
             known      ? &given->items[i]
             : one_text ? given
                        : nullptr,
             path + "[" + std::to_string(i) + "]", visit);
      });
    }
  } else if (type.kind == Type::Kind::map) {
    for (const std::string& key : map(type).keys(value)) {
      map(type).visit(value, key, [&](void* element) {
        walk(map(type).value(), element, part(key), joined_path(path, key), visit);
      });
    }
  } else if (type.kind == Type::Kind::structure) {
    for (const Field& field : structure(type).fields) {
      const std::string name(field.option());
      field.visit(
          value,
          [&](void* here) { walk(field.type(), here, part(name), joined_path(path, name), visit); },
          /*store=*/false);
    }
  } else if (type.kind == Type::Kind::choice) {
    if (Choice& here = choice(type).get(value); here.has_value()) {
      const Node* options = given != nullptr && given->is_map() ? given->find(kInitArgs) : nullptr;
      // The class itself is asked at the place that chose it.
      walk(here.entry().options(), here.options(), options != nullptr ? options : given, path,
           visit);
    }
  } else if (type.kind == Type::Kind::variant) {
    walk(variant(type).alternatives[variant(type).index(value)](), variant(type).get(value), given,
         path, visit);
  }
  visit(type, value, given, path);
}

bool has_problem_in(const Problems& problems, const std::string& path) {
  return std::any_of(problems.list().begin(), problems.list().end(), [&](const Problem& problem) {
    return path.empty() || problem.option == path || problem.option.starts_with(path + ".") ||
           problem.option.starts_with(path + "[");
  });
}

}  // namespace

void check(const Type& type, void* value, const Node& given, Problems& problems, bool missing,
           const HintOf& hint_of) {
  walk(type, value, &given, "",
       [&](const Type& here, void* part, const Node* node, const std::string& path) {
         if (is_missing(here, part)) {
           if (missing && !has_problem_in(problems, path)) {
             problems.add(Place(), path,
                          "a value is missing; expected " + name_of(here) + ". Hint: --" + path +
                              "=…, or the key in a file of --config." + hint_of(path));
           }
           return;
         }
         if (here.kind != Type::Kind::structure || structure(here).invalid == nullptr ||
             has_problem_in(problems, path)) {
           return;
         }
         if (std::string wrong = structure(here).invalid(part); !wrong.empty()) {
           problems.add(node != nullptr ? node->place : Place(), path, std::move(wrong));
         }
       });
}

std::string missing_comments(const Type& type, void* value,
                             const std::vector<std::string>& without) {
  std::string text;
  walk(type, value, nullptr, "",
       [&](const Type& here, void* part, const Node*, const std::string& path) {
         if (is_missing(here, part) &&
             std::find(without.begin(), without.end(), path) == without.end()) {
           text += "# " + path + ": needed; " + name_of(here) + "\n";
         }
       });
  return text;
}

}  // namespace fabric::config::detail
