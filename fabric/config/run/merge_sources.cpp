#include <fabric/config/run/merge_sources.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include <accelerators/text.h>
#include <fabric/config/links/paths.h>
#include <fabric/config/run/commands.h>
#include <fabric/config/run/default_files.h>
#include <fabric/config/sources/merge.h>
#include <fabric/config/sources/variables.h>
#include <fabric/config/tree/builder.h>
#include <fabric/config/tree/source_text.h>
#include <fabric/config/types/scalars.h>
#include <fabric/config/types/words.h>

namespace fabric::config::detail {
namespace {

class MergeSources {
 public:
  MergeSources(const Shape& shape, const Node& defaults, const Sources& sources, Problems& problems)
      : shape_(shape),
        type_(structure(*shape.type)),
        sources_(sources),
        inputs_(sources.inputs),
        files_(sources.files),
        problems_(problems),
        merger_(type_, defaults, files_, problems, merged_.notes) {
    merged_.given = Node::map();
  }

  Merged run() {
    merge_default_files();
    if (sources_.checkpoint != nullptr) {
      merge_checkpoint(*sources_.checkpoint);
    }
    merge_variables();
    for (const Argument& argument : sources_.arguments) {
      merge_argument(argument);
    }
    return std::move(merged_);
  }

 private:
  void merge(Node from) { merger_.merge(merged_.given, std::move(from)); }

  void merge_default_files() {
    for (const std::string& pattern : sources_.options.default_files) {
      for (const std::string& name : matching_files(pattern, inputs_.folder)) {
        try {
          merge(of_this_command(files_.load(name, Place()), /*below=*/false));
        } catch (const SourceError& error) {
          cannot_read(error);
        }
      }
    }
  }

  void merge_checkpoint(const Node& values) {
    std::vector<std::string> unknown;
    merger_.merge(merged_.given, values, &unknown);
    if (!unknown.empty()) {
      merged_.notes.push_back("the checkpoint has options that this program has not: " +
                              fabric::detail::list_or(unknown));
    }
  }

  void cannot_read(const SourceError& error) {
    problems_.add(error.place, "", error.what());
    merged_.unread = true;
  }

  // Without the sections of other commands.
  Node of_this_command(Node from, bool below) const {
    drop_commands(from, shape_.other_commands);
    return below ? below_command(type_, shape_.command, std::move(from)) : from;
  }

  static std::string config_name(const std::string& text) {
    return text == "-" ? kStandardInput : text;
  }

  // The value of --config: a file, or the options themselves.
  void merge_config(const Node& value, bool below = false) {
    try {
      merge(of_this_command(Files::is_inline(value.text)
                                ? files_.parse(value)
                                : files_.load(config_name(value.text), value.place),
                            below));
    } catch (const SourceError& error) {
      cannot_read(error);
    }
  }

  void merge_variables() {
    const std::string whole = sources_.options.environment + "CONFIG";
    const std::string* config =
        sources_.options.environment.empty() ? nullptr : find_variable(inputs_.variables, whole);
    if (config != nullptr) {
      auto source = std::make_shared<Source>();
      source->kind = Source::environment;
      source->name = whole;
      source->folder = inputs_.folder;
      Node value = Node::scalar(*config, Node::Style::raw);
      value.place = Place(std::move(source), 0, 0);
      merge_config(value);
    }
    const Variables variables =
        without_commands(inputs_.variables, sources_.options.environment, shape_.other_commands);
    for (Node& value : values_of_variables(type_, sources_.options.environment, variables,
                                           inputs_.folder, merged_.notes)) {
      const Node* text = &value;
      while (text->is_map()) {
        text = &text->items.front();
      }
      if (is_text(text->text)) {
        merge(std::move(value));
      } else {
        problems_.add(text->place, "", "not a text; expected UTF-8");
      }
    }
  }

  void merge_argument(const Argument& argument) {
    const Place place = place_of(argument, inputs_.folder);
    Node value = Node::scalar(argument.value, Node::Style::raw);
    value.place = value.key_place = place;
    value.append = argument.append;
    if (!is_text(argument.name) || !is_text(argument.value)) {
      problems_.add(place, argument.name, "not a text; expected UTF-8");
    } else if (argument.name == "print_config") {
      read_print_flags(argument, place);
    } else if (argument.name == "print_links") {
      merged_.print_links = true;
    } else if (argument.name == "config") {
      if (argument.value.empty()) {
        problems_.add(place, "config", "needs a value; expected a file");
      } else {
        merge_config(value, argument.of_command);
      }
    } else if (argument.has_value) {
      merge(at_path(argument.path, std::move(value)));
    } else if (const Type* type = needs_value(argument)) {
      problems_.add(place, argument.name,
                    "needs a value; expected " + name_of(*type) +
                        ". Hint: one that begins with dashes is written --" + argument.name +
                        "=--value.");
    } else {
      value.text = "true";
      merge(at_path(argument.path, std::move(value)));
    }
  }

  // The type of an option that cannot be given by its name alone; null for those that are true
  // then.
  const Type* needs_value(const Argument& argument) const {
    const std::vector<const Type*> types = types_at(type_, argument.path, false).types;
    const bool truth = std::any_of(types.begin(), types.end(), [](const Type* type) {
      return &bare(*type) == &builtin(Of<bool>());
    });
    return types.empty() || truth ? nullptr : &bare(*types.front());
  }

  void read_print_flags(const Argument& argument, const Place& place) {
    merged_.print.emplace();
    std::string_view rest = argument.value;
    while (!rest.empty()) {
      const std::size_t comma = rest.find(',');
      const std::string_view flag = fabric::detail::trim(rest.substr(0, comma));
      if (flag == "comments") {
        merged_.print->comments = true;
      } else if (flag == "skip_default") {
        merged_.print->only_changed = true;
      } else if (flag == "skip_unset") {
        merged_.print->only_set = true;
      } else {
        problems_.add(
            place, "print_config",
            "unknown flag; got " + shown(flag) + "; expected comments, skip_default or skip_unset");
      }
      rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    }
  }

  const Shape& shape_;
  const StructType& type_;
  const Sources& sources_;
  const Inputs& inputs_;
  Files& files_;
  Problems& problems_;
  Merged merged_;
  Merger merger_;
};

}  // namespace

Merged merge_sources(const Shape& shape, const Node& defaults, const Sources& sources,
                     Problems& problems) {
  return MergeSources(shape, defaults, sources, problems).run();
}

}  // namespace fabric::config::detail
