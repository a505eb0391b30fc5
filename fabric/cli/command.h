// A command of a Cli: its configuration, its links, and the function that runs it.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <fabric/config/classes/signature.h>
#include <fabric/config/help.h>
#include <fabric/config/links/linking.h>
#include <fabric/config/links/path.h>
#include <fabric/config/run/commands.h>
#include <fabric/config/run/parse.h>
#include <fabric/config/types/type_of.h>
#include <fabric/options.h>

namespace fabric {

class Fabric;

namespace detail {

/// What all commands have: `--seed=1`, `--fabric.devices=2`.
struct ProgramConfig {
  std::optional<std::uint64_t> seed{};
  FABRIC_HELP(seed, "of all random numbers, the same on all ranks; left out: as the machine gives")
  FabricOptions fabric{};
  FABRIC_HELP(fabric, "where and how the program runs")
};

/// The same with the options of a command; its section gets the command's name in the table.
template <class Config>
struct CommandConfig {
  std::optional<std::uint64_t> seed{};
  FABRIC_HELP(seed, "of all random numbers, the same on all ranks; left out: as the machine gives")
  FabricOptions fabric{};
  FABRIC_HELP(fabric, "where and how the program runs")
  Config command{};
};

/// Runs a command with its configuration.
using CommandCall = std::function<int(Fabric&, const void* config)>;

template <class Function>
inline constexpr bool is_command = [] {
  using Signature = config::detail::Signature<Function>;
  using Arguments = typename Signature::Arguments;
  if constexpr (std::tuple_size_v<Arguments> == 2) {
    return std::same_as<std::tuple_element_t<0, Arguments>, Fabric> &&
           config::detail::Aggregate<std::tuple_element_t<1, Arguments>> &&
           (std::is_void_v<typename Signature::Result> ||
            std::same_as<typename Signature::Result, int>);
  } else {
    return false;
  }
}();

template <class Config, class Function>
CommandCall command_call(Function run) {
  return [run = std::move(run)](Fabric& fabric, const void* config) -> int {
    if constexpr (std::is_void_v<typename config::detail::Signature<Function>::Result>) {
      run(fabric, *static_cast<const Config*>(config));
      return 0;
    } else {
      return run(fabric, *static_cast<const Config*>(config));
    }
  };
}

/// A command without the type of its configuration.
struct CommandBase {
  std::string name;
  std::string about;
  CommandCall call;
  config::detail::StructType type;  ///< of CommandConfig, with the command's name
  config::detail::Shape shape;

  CommandBase(std::string name, std::string about, CommandCall call,
              const config::detail::StructType& table);
  virtual ~CommandBase() = default;
  CommandBase(const CommandBase&) = delete;
  CommandBase& operator=(const CommandBase&) = delete;

  /// Parts of a value of this command.
  virtual const void* config_of(const void* value) const = 0;
  virtual const FabricOptions& fabric_of(const void* value) const = 0;
  virtual std::optional<std::uint64_t> seed_of(const void* value) const = 0;

 protected:
  /// Paths are those that are given behind the command.
  void add_link(config::detail::Link link);
};

/// A command that was chosen, with what was read for it.
struct CommandRun {
  const CommandBase* command = nullptr;
  std::shared_ptr<const void> value{};
  config::Resolved resolved{};
  std::vector<std::string> notes{};

  /// The configuration of the command; null for another type.
  template <class Config>
  const Config* config() const;
  const FabricOptions& fabric() const { return command->fabric_of(value.get()); }
  std::optional<std::uint64_t> seed() const { return command->seed_of(value.get()); }
};

}  // namespace detail

/// What Cli::command returns: a command with the configuration `Config`. Has `link`, as Parser.
template <class Config>
class Command final
    : public detail::CommandBase,
      public config::detail::Linking<Command<Config>,
                                     config::detail::PathOf<Config, detail::ProgramConfig>> {
  using Whole = detail::CommandConfig<Config>;

 public:
  /// The path of an option of the command, or of the program ("fabric.strategy").
  using Path = config::detail::PathOf<Config, detail::ProgramConfig>;

  Command(std::string name, std::string about, detail::CommandCall call, FabricOptions fabric)
      : CommandBase(std::move(name), std::move(about), std::move(call),
                    config::detail::structure(config::detail::type_of<Whole>())),
        defaults_{std::nullopt, std::move(fabric), {}} {
    shape.make = [this] {
      return std::static_pointer_cast<void>(std::make_shared<Whole>(defaults_));
    };
  }

  /// What the command has before anything is read; left out: the defaults of the struct.
  Command& defaults(Config config) {
    defaults_.command = std::move(config);
    return *this;
  }

  const void* config_of(const void* value) const override {
    return &static_cast<const Whole*>(value)->command;
  }
  const FabricOptions& fabric_of(const void* value) const override {
    return static_cast<const Whole*>(value)->fabric;
  }
  std::optional<std::uint64_t> seed_of(const void* value) const override {
    return static_cast<const Whole*>(value)->seed;
  }

 private:
  friend class config::detail::Linking<Command, Path>;

  Whole defaults_;
};

template <class Config>
const Config* detail::CommandRun::config() const {
  return dynamic_cast<const Command<Config>*>(command) == nullptr
             ? nullptr
             : static_cast<const Config*>(command->config_of(value.get()));
}

}  // namespace fabric
