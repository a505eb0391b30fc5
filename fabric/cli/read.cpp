// The part of Cli that reads: which command, and its configuration. Nothing of LibTorch.
#include <algorithm>
#include <string>
#include <utility>

#include <accelerators/error.h>
#include <accelerators/text.h>
#include <fabric/cli.h>
#include <fabric/config/nearest_name.h>
#include <fabric/config/parser.h>
#include <fabric/config/screens/help.h>
#include <fabric/config/sources/arguments.h>
#include <fabric/config/types/write.h>

namespace fabric {
namespace {

bool is_name(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

config::Place place_of(const config::detail::Inputs& inputs, std::size_t index) {
  auto source = std::make_shared<config::Source>();
  source->kind = config::Source::argument;
  source->name = inputs.arguments[index];
  source->folder = inputs.folder;
  return {std::move(source), static_cast<int>(index) + 1, 0};
}

}  // namespace

detail::CommandBase::CommandBase(std::string name, std::string about, CommandCall call,
                                 const config::detail::StructType& table)
    : name(std::move(name)), about(std::move(about)), call(std::move(call)), type(table) {
  FABRIC_CHECK(Misconfiguration, is_name(this->name),
               "[fabric.cli] a command has a name of small letters, digits and _; got '",
               this->name, "'");
  FABRIC_CHECK(Misconfiguration, type.find(this->name) == nullptr, "[fabric.cli] '", this->name,
               "' is an option of all commands. Hint: give the command another name.");
  type.fields.back().name = this->name;
  const auto& own = config::detail::structure(type.fields.back().type());
  const config::detail::Field* fabric = own.find("fabric");
  FABRIC_CHECK(Misconfiguration,
               fabric == nullptr || &fabric->type() != &config::detail::type_of<FabricOptions>(),
               "[fabric.cli] the configuration of ", this->name,
               " has the options of Fabric, which a program has once for all commands. Hint: leave "
               "them out; --fabric.devices=2 is understood before and behind the command.");
  config::detail::check_names(own);
  shape.type = &type;
  shape.command = this->name;
}

void detail::CommandBase::add_link(config::detail::Link link) {
  for (std::string& source : link.sources) {
    source = config::detail::path_of_command(type, name, source);
  }
  link.target = config::detail::path_of_command(type, name, link.target);
  shape.links.add(type, std::move(link));
}

Cli::Cli(std::string program, config::ParserOptions options, FabricOptions defaults)
    : options_(std::move(options)), defaults_(std::move(defaults)) {
  options_.program = std::move(program);
}

Cli::~Cli() = default;

void Cli::add(std::unique_ptr<detail::CommandBase> command) {
  for (const auto& other : commands_) {
    FABRIC_CHECK(Misconfiguration, other->name != command->name,
                 "[fabric.cli] there are two commands '", command->name, "'");
    other->shape.other_commands.push_back(command->name);
    command->shape.other_commands.push_back(other->name);
  }
  commands_.push_back(std::move(command));
}

std::string Cli::help() const {
  std::string list = "Usage: " + options_.program + " [options] COMMAND [options]\n\ncommands:\n";
  for (const auto& command : commands_) {
    list += config::detail::help_entry(command->name, command->about);
  }
  list += "\n" + config::detail::help_entry("COMMAND --help", "shows the options of a command");
  const detail::ProgramConfig defaults{std::nullopt, defaults_};
  const config::detail::Type& type = config::detail::type_of<detail::ProgramConfig>();
  return config::detail::help_screen(config::detail::structure(type),
                                     config::detail::write(type, &defaults), options_, {}, {},
                                     list);
}

detail::CommandRun Cli::read(const config::detail::Inputs& given) const {
  config::detail::Inputs inputs = given;
  inputs.command_at = config::detail::find_command(inputs.arguments);
  std::vector<std::string> names;
  for (const auto& command : commands_) {
    names.push_back(command->name);
  }
  if (inputs.command_at == config::detail::kNoCommand) {
    const auto& arguments = inputs.arguments;
    if (std::find(arguments.begin(), arguments.end(), "--help") != arguments.end() ||
        std::find(arguments.begin(), arguments.end(), "-h") != arguments.end()) {
      throw config::ScreenRequest(help());
    }
    throw config::ConfigError(
        {{{}, "", "a command is missing; expected " + fabric::detail::list_or(names)}});
  }
  const std::string& name = inputs.arguments[inputs.command_at];
  const auto found = std::find_if(commands_.begin(), commands_.end(),
                                  [&](const auto& command) { return command->name == name; });
  if (found == commands_.end()) {
    throw config::ConfigError(
        {{place_of(inputs, inputs.command_at), "",
          "no such command; expected " + fabric::detail::list_or(names) +
              config::detail::did_you_mean(config::detail::nearest_name(name, names))}});
  }
  const detail::CommandBase& command = **found;
  config::ParserOptions options = options_;
  options.program += " " + command.name;
  options.about = command.about;
  config::detail::Answer answer = config::detail::parse(command.shape, options, inputs);
  if (!answer.screen.empty()) {
    throw config::ScreenRequest(std::move(answer.screen));
  }
  return {&command, std::move(answer.value), std::move(answer.resolved), std::move(answer.notes)};
}

}  // namespace fabric
