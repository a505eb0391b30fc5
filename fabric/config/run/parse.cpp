#include <fabric/config/run/parse.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include <accelerators/error.h>
#include <fabric/config/links/paths.h>
#include <fabric/config/run/check.h>
#include <fabric/config/run/commands.h>
#include <fabric/config/run/merge_sources.h>
#include <fabric/config/run/problem_order.h>
#include <fabric/config/run/resolved_tree.h>
#include <fabric/config/screens/help.h>
#include <fabric/config/sources/arguments.h>
#include <fabric/config/sources/class_arguments.h>
#include <fabric/config/sources/files.h>
#include <fabric/config/sources/handed.h>
#include <fabric/config/sources/merge.h>
#include <fabric/config/sources/references.h>
#include <fabric/config/sources/variables.h>
#include <fabric/config/types/read.h>
#include <fabric/config/types/write.h>

namespace fabric::config::detail {
namespace {

constexpr const char* kReserved[] = {"config", "help", "print_config", "print_links"};

class Parse {
 public:
  Parse(const Shape& shape, const ParserOptions& options, const Inputs& inputs)
      : shape_(shape),
        type_(structure(*shape.type)),
        options_(options),
        inputs_(inputs),
        files_(inputs.folder) {}

  Answer run() {
    const std::shared_ptr<void> fresh = shape_.make();
    defaults_ = write(type_, fresh.get());
    shape_.links.check(type_);
    Node given;
    if (std::optional<Node> handed = handed_values(type_, inputs_.variables)) {
      given = std::move(*handed);
      handed_ = true;
    } else {
      const std::vector<Argument> arguments = this->arguments();
      if (std::string screen = help(arguments); !screen.empty()) {
        Answer answer;
        answer.screen = std::move(screen);
        return answer;
      }
      given = merged(arguments, nullptr);
      if (const std::optional<Node> checkpoint = checkpoint_values(given)) {
        problems_ = Problems();
        given = merged(this->arguments(), &*checkpoint);
      }
    }
    return answer(std::move(given));
  }

 private:
  // In the order in which they are read.
  std::vector<Argument> arguments() {
    std::vector<Argument> all = read_arguments(inputs_.arguments, problems_, inputs_.command_at);
    for (Argument& argument : all) {
      if (argument.of_command && !is_reserved(argument.name)) {
        argument.path = path_of_command(type_, shape_.command, argument.name);
      }
    }
    return classes_first(type_, std::move(all));
  }

  static bool is_reserved(std::string_view name) {
    return std::find(std::begin(kReserved), std::end(kReserved), name) != std::end(kReserved);
  }

  // The screen of --help or --model.help; nothing where nobody asks.
  std::string help(const std::vector<Argument>& arguments) {
    constexpr std::string_view kHelp = ".help";
    for (const Argument& argument : arguments) {
      if (argument.name == "help") {
        return help_screen(type_, defaults_, options_, shape_.links, shape_.command);
      }
      if (!argument.path.ends_with(kHelp)) {
        continue;
      }
      const std::string path = argument.name.substr(0, argument.name.size() - kHelp.size());
      const std::string section = argument.path == argument.name ? "" : shape_.command;
      const std::vector<const ClassTable*> tables =
          choices_at(type_, section.empty() ? path : joined_path(section, path));
      if (tables.empty()) {
        continue;  // an option of that name, or none
      }
      std::string wrong;
      std::string screen =
          class_help_screen(tables, path, argument.value, shape_.links, section, wrong);
      if (!wrong.empty()) {
        throw ConfigError({{place_of(argument, inputs_.folder), argument.name, std::move(wrong)}});
      }
      return screen;
    }
    return {};
  }

  Node merged(const std::vector<Argument>& arguments, const Node* checkpoint) {
    Merged all = merge_sources(shape_, defaults_,
                               {options_, inputs_, arguments, checkpoint, files_}, problems_);
    notes_ = std::move(all.notes);
    print_ = all.print;
    print_links_ = all.print_links;
    unread_ = all.unread;
    return std::move(all.given);
  }

  // The hyper-parameters of the checkpoint that the merged options name; nothing where none do.
  std::optional<Node> checkpoint_values(const Node& given) {
    if (options_.checkpoint.empty()) {
      return std::nullopt;
    }
    Problems ignored;  // the run to come finds them again
    const std::shared_ptr<void> object = shape_.make();
    const Node followed = resolved_references(given, ignored);
    read(type_, object.get(), followed, "", ignored);
    const Node values = write(type_, object.get());
    const Node* name = &values;
    const Node* at = &followed;
    for (std::string_view rest = options_.checkpoint; name != nullptr && !rest.empty();) {
      const std::size_t dot = rest.find('.');
      name = name->find(rest.substr(0, dot));
      at = at != nullptr ? at->find(rest.substr(0, dot)) : nullptr;
      rest = dot == std::string_view::npos ? std::string_view() : rest.substr(dot + 1);
    }
    if (name == nullptr || !name->is_scalar() || name->text.empty()) {
      return std::nullopt;
    }
    auto source = std::make_shared<Source>();
    source->kind = Source::checkpoint;
    source->name = name->text;
    source->folder = inputs_.folder;
    try {
      Node text = Node::scalar(options_.hyper_parameters(name->text));
      text.place = Place(std::move(source), 0, 0);
      Node node = files_.parse(text);
      drop_sections_of_start(type_, node);
      return node;
    } catch (const std::exception& error) {
      throw ConfigError({{at != nullptr ? at->place : Place(), options_.checkpoint,
                          "the hyper-parameters cannot be read: " + std::string(error.what())}});
    }
  }

  // Where and how a program runs is asked anew at each start.
  static void drop_sections_of_start(const StructType& type, Node& node) {
    std::erase_if(node.items, [&](Node& item) {
      const Field* field = type.find(item.key);
      if (field == nullptr || bare(field->type()).kind != Type::Kind::structure) {
        return false;
      }
      const StructType& below = structure(bare(field->type()));
      drop_sections_of_start(below, item);
      return below.variables != nullptr;
    });
  }

  // All values under what is given, as far as it can be read.
  Node values_of(const Node& given, Problems& problems) {
    const std::shared_ptr<void> object = shape_.make();
    read(type_, object.get(), given, "", problems);
    return write(type_, object.get());
  }

  Node resolved_references(const Node& given, Problems& problems) {
    if (!has_references(given)) {
      return given;
    }
    Problems ignored;  // reading the whole tree finds them
    const Node values = values_of(without_references(given), ignored);
    return follow_references(given, values, inputs_.variables, option_names(type_), problems);
  }

  Answer answer(Node given) {
    given = resolved_references(given, problems_);
    Answer answer;
    std::vector<std::string> linked;
    if (!shape_.links.empty()) {
      answer.links = apply(
          shape_.links, type_, given,
          [this](const Node& tree, Problems& problems) { return values_of(tree, problems); },
          handed_  ? LinkMode::handed
          : print_ ? LinkMode::plan
                   : LinkMode::compute,
          linked, problems_);
    }
    answer.value = shape_.make();
    read(type_, answer.value.get(), given, "", problems_);
    check(type_, answer.value.get(), given, problems_, /*missing=*/!print_ && !unread_,
          [&](const std::string& path) { return skipped_hint(answer.links, path); });
    if (!problems_.empty()) {
      throw ConfigError(in_order(problems_.take()));
    }
    auto tree = std::make_shared<ResolvedTree>();
    tree->type = &type_;
    tree->program = options_.program;
    tree->given = std::move(given);
    tree->values = write(type_, answer.value.get());
    tree->defaults = std::move(defaults_);
    tree->linked = std::move(linked);
    for (const LinkOutcome& outcome : answer.links) {
      if (!outcome.skipped.empty()) {
        tree->skipped_links.push_back(outcome.link + ": " + outcome.skipped);
      }
    }
    finish(*tree);
    if (print_links_) {
      answer.screen = links_screen(answer.links);
      return answer;
    }
    if (print_) {
      answer.screen =
          to_yaml(*tree, *print_) + missing_comments(type_, answer.value.get(), tree->linked);
      return answer;
    }
    answer.resolved = Resolved(std::move(tree));
    answer.notes = std::move(notes_);
    mark(type_, answer.value.get(), answer.resolved);
    return answer;
  }

  const Shape& shape_;
  const StructType& type_;
  const ParserOptions& options_;
  const Inputs& inputs_;
  Files files_;
  Node defaults_;
  Problems problems_;
  std::vector<std::string> notes_;
  std::optional<PrintOptions> print_;
  bool print_links_ = false;
  bool unread_ = false;
  bool handed_ = false;
};

}  // namespace

Answer parse(const Shape& shape, const ParserOptions& options, const Inputs& inputs) {
  return Parse(shape, options, inputs).run();
}

Inputs inputs_of_process(std::vector<std::string> arguments) {
  return {std::move(arguments), read_variables(), std::filesystem::current_path().string()};
}

void check_names(const Type& type) {
  for (const char* name : kReserved) {
    FABRIC_CHECK(Misconfiguration, structure(type).find(name) == nullptr, "[fabric.config] --",
                 name, " is the parser's own; got a field '", name,
                 "'. Hint: give it another name.");
  }
}

}  // namespace fabric::config::detail
