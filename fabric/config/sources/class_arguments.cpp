#include <fabric/config/sources/class_arguments.h>

#include <algorithm>
#include <utility>

#include <accelerators/text.h>
#include <fabric/config/classes/table.h>
#include <fabric/config/links/paths.h>

namespace fabric::config::detail {

std::vector<const ClassTable*> choices_at(const StructType& type, const std::string& path) {
  std::vector<const ClassTable*> tables;
  for (const Type* found : types_at(type, path, /*in_lists=*/true).types) {
    const Type& here = bare(*found);
    const Type& one = here.kind == Type::Kind::list ? bare(list(here).element()) : here;
    if (one.kind == Type::Kind::choice) {
      tables.push_back(&choice(one).classes());
    }
  }
  return tables;
}

std::vector<Argument> classes_first(const StructType& type, std::vector<Argument> arguments) {
  std::vector<std::string> paths;  // outer classes first: they decide what inner ones are
  for (const Argument& argument : arguments) {
    const std::string_view name = fabric::detail::trim(argument.value);
    const std::vector<const ClassTable*> tables = choices_at(type, argument.path);
    if (!argument.append &&
        std::any_of(tables.begin(), tables.end(),
                    [name](const ClassTable* table) { return table->find(name) != nullptr; }) &&
        std::find(paths.begin(), paths.end(), argument.path) == paths.end()) {
      paths.push_back(argument.path);
    }
  }
  std::stable_sort(paths.begin(), paths.end(),
                   [](const std::string& a, const std::string& b) { return a.size() < b.size(); });
  for (const std::string& path : paths) {
    const auto first =
        std::find_if(arguments.begin(), arguments.end(),
                     [&](const Argument& argument) { return argument.path == path; });
    std::stable_partition(arguments.begin(), first + 1,
                          [&](const Argument& argument) { return !is_below(argument.path, path); });
  }
  return arguments;
}

}  // namespace fabric::config::detail
