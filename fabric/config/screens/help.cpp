#include <fabric/config/screens/help.h>

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <utility>
#include <vector>

#include <accelerators/text.h>
#include <fabric/config/classes/block.h>
#include <fabric/config/sources/variables.h>
#include <fabric/config/tree/emitter.h>
#include <fabric/config/types/problems.h>
#include <fabric/config/types/write.h>

namespace fabric::config::detail {
namespace {

constexpr std::size_t kWidth = 100;
constexpr std::size_t kHelpColumn = 36;

// The number of characters, which may have several bytes.
std::size_t length(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

bool is_path(const Type& type) {
  return type.kind == Type::Kind::scalar && scalar(type).path;
}

// Paths begin at the working directory: what lies in it is shown as one would write it.
std::string shown_default(const Type& type, const Node& value) {
  if (is_path(type) && value.is_scalar()) {
    const std::string here = std::filesystem::current_path().string() + "/";
    if (value.text.starts_with(here)) {
      return value.text.substr(here.size());
    }
  }
  return one_line(type.kind == Type::Kind::choice && value.is_map() ? *value.find(kClassPath)
                                                                    : value);
}

class Screen {
 public:
  /// @param prefix what the paths of links begin with here: the section of a command
  /// @param without a section that is shown elsewhere
  explicit Screen(const Links& links, std::string prefix = {}, std::string_view without = {})
      : links_(links), prefix_(std::move(prefix)), without_(without) {}

  void section(const StructType& type, const Node* defaults, const std::string& path, int depth) {
    constexpr int kDeepest = 20;  // a struct may hold itself
    std::vector<const Field*> sections;
    std::string options;
    for (const Field& field : type.fields) {
      const Type& part = bare(field.type());
      if (!is_option(part) || is_linked(joined_path(path, field.option())) ||
          (path.empty() && field.option() == without_)) {
        continue;
      }
      if (part.kind == Type::Kind::choice &&
          chosen_by(part, value_of(defaults, field)) != nullptr) {
        sections.push_back(&field);
      }
      if (part.kind == Type::Kind::structure) {
        sections.push_back(&field);
        continue;
      }
      options += option(field, value_of(defaults, field), path);
    }
    if (!options.empty()) {
      text_ += "\n" + heading_ + options;
    }
    for (const Field* field : sections) {
      if (depth < kDeepest) {
        const std::string name = joined_path(path, field->option());
        if (bare(field->type()).kind == Type::Kind::choice) {
          class_section(bare(field->type()), value_of(defaults, *field), name, depth);
          continue;
        }
        heading_ =
            name + ":" + (*field->help != '\0' ? "  " + std::string(field->help) : "") + "\n";
        const StructType& below = structure(bare(field->type()));
        const Node* value = value_of(defaults, *field);
        if (value != nullptr && value->is_map()) {
          section(below, value, name, depth + 1);
        } else {  // left out by the program: what it begins with
          const Node of_type = default_node(below);
          section(below, &of_type, name, depth + 1);
        }
      }
    }
  }

  void begin(const std::string& heading) { heading_ = heading; }
  std::string take() { return std::move(text_); }

 private:
  static const ClassEntry* chosen_by(const Type& type, const Node* value) {
    return chosen(choice(type).classes(), value);
  }

  // The options of the class that the program chooses.
  void class_section(const Type& type, const Node* value, const std::string& name, int depth) {
    const ClassEntry& entry = *chosen_by(type, value);
    heading_ = name + ":  of " + entry.name + "; --" + name + ".help=NAME shows those of another\n";
    if (const Node* options = value->find(kInitArgs)) {
      section(entry.options(), options, name, depth + 1);
    }
  }

  bool is_linked(const std::string& path) const {
    const std::string whole = prefix_.empty() ? path : joined_path(prefix_, path);
    return std::any_of(links_.all().begin(), links_.all().end(),
                       [&](const Link& link) { return link.target == whole; });
  }

  static const Node* value_of(const Node* defaults, const Field& field) {
    return defaults != nullptr && defaults->is_map() ? defaults->find(field.option()) : nullptr;
  }

  static std::string option(const Field& field, const Node* value, const std::string& path) {
    const Type& type = field.type();
    const bool required =
        type.kind == Type::Kind::optional && optional(type).required && value == nullptr;
    const bool null = value == nullptr || value->is_null();
    const std::string default_text = required ? "; needed"
                                     : null   ? ""
                                              : "; " + shown_default(bare(type), *value);
    return help_entry("--" + joined_path(path, field.option()), field.help,
                      "[" + name_of(type) + default_text + "]");
  }

  const Links& links_;
  std::string prefix_;
  std::string_view without_;
  std::string heading_;
  std::string text_;
};

std::string link_lines(const Links& links) {
  std::string text;
  for (const Link& link : links.all()) {
    text += "  " + link.text() + "\n";
  }
  return text.empty() ? text : "\nlinks, whose targets cannot be given:\n" + text;
}

// Lines for sections whose struct has variables of its own, wherever it stands.
std::string own_variables(const StructType& type, const std::string& path) {
  std::string text;
  for (const Field& field : type.fields) {
    const Type& part = bare(field.type());
    if (part.kind == Type::Kind::structure && &part != &type) {
      const StructType& below = structure(part);
      const std::string name = joined_path(path, field.option());
      if (below.variables != nullptr) {
        text += std::string(below.variables) + "… give options of " + name + ", such as " +
                variable_name(below.variables, below.names().front()) + ".\n";
      }
    }
  }
  return text;
}

}  // namespace

std::string help_entry(const std::string& name, const std::string& help, const std::string& type) {
  std::string text = "  " + name;
  std::size_t column = length(text);
  if (column + 2 > kHelpColumn) {
    text += '\n';
    column = 0;
  }
  text += std::string(kHelpColumn - column, ' ');
  column = kHelpColumn;
  const auto add = [&](std::string_view word) {
    if (column > kHelpColumn && column + 1 + length(word) > kWidth) {
      text += '\n' + std::string(kHelpColumn, ' ');
      column = kHelpColumn;
    } else if (column > kHelpColumn) {
      text += ' ';
      ++column;
    }
    text += word;
    column += length(word);
  };
  const auto add_words = [&](std::string_view rest) {
    while (!rest.empty()) {
      const std::string_view word = rest.substr(0, rest.find(' '));
      add(word);
      rest.remove_prefix(std::min(word.size() + 1, rest.size()));
    }
  };
  add_words(help);
  if (kHelpColumn + length(type) > kWidth) {
    add_words(type);
  } else if (!type.empty()) {
    add(type);
  }
  while (text.ends_with(' ')) {
    text.pop_back();
  }
  return text + '\n';
}

std::string class_help_screen(const std::vector<const ClassTable*>& tables, const std::string& path,
                              const std::string& name, const Links& links,
                              const std::string& section, std::string& wrong) {
  std::string text;
  for (const ClassTable* table : tables) {
    for (const auto& entry : table->classes) {
      if (name.empty() || entry->name == name) {
        const Node defaults = default_node(entry->options());
        Screen screen(links, section);
        screen.begin("--" + path + "=" + entry->name + "\n");
        screen.section(entry->options(), &defaults, path, 0);
        std::string options = screen.take();
        text +=
            options.empty() ? "\n--" + path + "=" + entry->name + "\n  has no options\n" : options;
      }
    }
  }
  if (text.empty()) {
    wrong = tables.front()->names().empty()
                ? "no class of " + tables.front()->base + " is registered"
                : no_such_class(*tables.front(), Node::scalar(name));
  }
  return text.empty() ? text : text.substr(1);
}

std::string help_screen(const StructType& type, const Node& defaults, const ParserOptions& options,
                        const Links& links, const std::string& command,
                        const std::string& commands) {
  std::string text = options.program + (options.about.empty() ? "" : ": " + options.about) + "\n\n";
  text += commands;
  text += help_entry("-h, --help", "shows this");
  text += help_entry(
      "-c, --config FILE",
      "reads YAML or JSON; may be repeated, and counts where it stands: later values win");
  text +=
      help_entry("--print_config[=FLAG,…]",
                 "prints the configuration and ends; flags: comments, skip_default, skip_unset");
  if (!links.empty()) {
    text += help_entry("--print_links",
                       "prints what links give, and which are skipped and why, and ends");
  }
  text += "\nOptions are given as --name=value or --name value; --name+=value adds to a list.";
  text += "\nA section may be a file: --section=file.yaml.\n";
  if (!options.environment.empty()) {
    text += "Variables: " + options.environment + "CONFIG is a file, " +
            variable_name(options.environment, "section.name") + " an option.\n";
  }
  text += own_variables(type, "");
  if (!options.default_files.empty()) {
    text += "Read where they are there: " + fabric::detail::list_or(options.default_files) + ".\n";
  }
  if (!command.empty()) {
    Screen screen(links, command);
    screen.begin("options of " + command + ":\n");
    screen.section(structure(bare(type.find(command)->type())), defaults.find(command), "", 0);
    text += screen.take();
  }
  Screen screen(links, {}, command);
  screen.begin(command.empty() ? "options:\n" : "options of all commands:\n");
  screen.section(type, &defaults, "", 0);
  return text + screen.take() + link_lines(links);
}

}  // namespace fabric::config::detail
