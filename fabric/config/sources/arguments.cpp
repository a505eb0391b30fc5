#include <fabric/config/sources/arguments.h>

#include <memory>

#include <fabric/config/tree/builder.h>
#include <fabric/config/tree/node.h>

namespace fabric::config::detail {
namespace {

bool is_option(const std::string& text) {
  return text.size() > 2 && text.starts_with("--") && text[2] != '-' && text[2] != '=';
}

// "-h" and "-c"; others are no options, but may be negative numbers.
std::string long_name(const std::string& text) {
  return text == "-h"              ? "--help"
         : text == "-c"            ? "--config"
         : text.starts_with("-c=") ? "--config" + text.substr(2)
                                   : text;
}

// Options that ask for a screen, whose value needs the equals sign.
bool stands_alone(const std::string& name) {
  return name == "help" || name == "print_config" || name == "print_links";
}

}  // namespace

std::size_t find_command(const std::vector<std::string>& arguments) {
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string text = long_name(arguments[i]);
    if (!is_option(text)) {
      return i;
    }
    if (text.find('=') == std::string::npos && !stands_alone(text.substr(2))) {
      const bool has_value = i + 1 < arguments.size() && !arguments[i + 1].starts_with("--");
      i += has_value ? 1 : 0;
    }
  }
  return kNoCommand;
}

std::vector<Argument> read_arguments(const std::vector<std::string>& arguments, Problems& problems,
                                     std::size_t command_at) {
  std::vector<Argument> read;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string text = long_name(arguments[i]);
    if (i == command_at) {
      continue;
    }
    if (!is_option(text)) {
      auto source = std::make_shared<Source>();
      source->kind = Source::argument;
      source->name = arguments[i].empty() ? "''" : arguments[i];
      problems.add(Place(std::move(source), static_cast<int>(i) + 1, 0), "",
                   "no option; expected --name=value. Hint: quote a value of several words, and "
                   "write a list as '[a, b]'.");
      continue;
    }
    Argument argument{.number = static_cast<int>(i) + 1, .of_command = i > command_at};
    const std::size_t equals = text.find('=');
    argument.name = text.substr(2, equals == std::string::npos ? equals : equals - 2);
    if (equals != std::string::npos) {
      argument.value = text.substr(equals + 1);
      argument.has_value = true;
    } else if (i + 1 < arguments.size() && !arguments[i + 1].starts_with("--") &&
               i + 1 != command_at && !stands_alone(argument.name)) {
      argument.value = arguments[++i];
      argument.has_value = true;
    }
    if (argument.name.size() > 1 && argument.name.ends_with('+')) {
      argument.name.pop_back();
      argument.append = true;
    }
    if (argument.name.size() > Builder::kMaxKey) {
      problems.add(Place(), "",
                   "the name of argument " + std::to_string(i + 1) + " has " +
                       std::to_string(argument.name.size()) + " bytes; expected at most " +
                       std::to_string(Builder::kMaxKey));
      continue;
    }
    argument.path = argument.name;
    read.push_back(std::move(argument));
  }
  return read;
}

Place place_of(const Argument& argument, const std::string& folder) {
  auto source = std::make_shared<Source>();
  source->kind = Source::argument;
  source->name = "--" + argument.name;
  source->folder = folder;
  return {std::move(source), argument.number, 0};
}

}  // namespace fabric::config::detail
