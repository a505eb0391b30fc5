#include <fabric/config/sources/variables.h>

#include <unistd.h>

#include <algorithm>
#include <memory>

#include <fabric/config/nearest_name.h>
#include <fabric/config/sources/merge.h>

namespace fabric::config::detail {
namespace {

Node value_of(const std::string& path, const std::string& name, const std::string& text,
              const std::string& folder) {
  auto source = std::make_shared<Source>();
  source->kind = Source::environment;
  source->name = name;
  source->folder = folder;
  Node value = Node::scalar(text, Node::Style::raw);
  value.place = Place(std::move(source), 0, 0);
  return at_path(path, std::move(value));
}

// Sections whose struct has variables of its own.
void own_variables(const StructType& type, const std::string& path, int depth,
                   const Variables& variables, const std::string& folder,
                   std::vector<Node>& values) {
  constexpr int kDeepest = 20;
  for (const Field& field : type.fields) {
    const Type& part = bare(field.type());
    const std::string here = joined_path(path, field.option());
    if (type.variables != nullptr && part.kind == Type::Kind::scalar) {
      const std::string name = variable_name(type.variables, std::string(field.option()));
      if (const std::string* text = find_variable(variables, name)) {
        values.push_back(value_of(here, name, *text, folder));
      }
    } else if (part.kind == Type::Kind::structure && depth < kDeepest) {
      own_variables(structure(part), here, depth + 1, variables, folder, values);
    }
  }
}

}  // namespace

Variables read_variables() {
  Variables variables;
  for (char** line = environ; line != nullptr && *line != nullptr; ++line) {
    const std::string text = *line;
    const std::size_t equals = text.find('=');
    if (equals != std::string::npos) {
      variables.emplace_back(text.substr(0, equals), text.substr(equals + 1));
    }
  }
  return variables;
}

const std::string* find_variable(const Variables& variables, const std::string& name) {
  for (const auto& [known, value] : variables) {
    if (known == name && !value.empty()) {
      return &value;
    }
  }
  return nullptr;
}

std::string variable_name(const std::string& prefix, const std::string& path) {
  std::string name = prefix;
  for (const char c : path) {
    name += c == '.' ? std::string("__")
                     : std::string(1, c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c);
  }
  return name;
}

std::vector<Node> values_of_variables(const StructType& type, const std::string& prefix,
                                      const Variables& variables, const std::string& folder,
                                      std::vector<std::string>& notes) {
  std::vector<Node> values;
  own_variables(type, "", 0, variables, folder, values);
  if (prefix.empty()) {
    return values;
  }
  Variables of_program;
  for (const auto& variable : variables) {
    if (variable.first.starts_with(prefix) && variable.first != prefix + "CONFIG" &&
        !variable.second.empty()) {
      of_program.push_back(variable);
    }
  }
  std::vector<std::string> names;
  for (const std::string& path : option_names(type)) {
    if (of_program.empty()) {
      break;
    }
    names.push_back(variable_name(prefix, path));
    const auto found =
        std::find_if(of_program.begin(), of_program.end(),
                     [&](const auto& variable) { return variable.first == names.back(); });
    if (found != of_program.end()) {
      values.push_back(value_of(path, found->first, found->second, folder));
      of_program.erase(found);
    }
  }
  for (const auto& [name, value] : of_program) {
    notes.push_back("the variable " + name + " is no option's" +
                    did_you_mean(nearest_name(name, names)));
  }
  return values;
}

}  // namespace fabric::config::detail
