// Cli: a program with commands, over plain functions.
//
//     struct FitConfig { int epochs = 3; fabric::OneOf<Net, Big> model = "Net"; };
//     void fit(fabric::Fabric& fabric, const FitConfig& config) { … }
//
//     int main(int argc, char** argv) {
//       fabric::Cli cli("mnist");
//       cli.command("fit", fit, "trains the model")
//           .link("model", "fabric.strategy", [](const fabric::OneOf<Net, Big>& model) { … });
//       cli.command("test", test, "measures a trained model");
//       return cli.run(argc, argv);   // mnist --fabric.devices=2 fit --model=Big --epochs 5
//     }
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <fabric/cli/command.h>
#include <fabric/config/options.h>
#include <fabric/options.h>

namespace fabric {

/// A program whose first argument that is no option names what it does.
///
/// Each command has a configuration of its own, in files a section of the command's name; all have
/// `seed` and `fabric`, how the program runs. Options before the command are those; behind it, an
/// option is the command's, and where it has none of that name, the program's. A `--config` behind
/// the command is a file with the command's options, one before it a file of the whole program,
/// which may have the sections of other commands too.
class Cli {
 public:
  /// @param options without the program's name, which is the first parameter
  /// @param defaults how the program runs if nobody says otherwise
  explicit Cli(std::string program, config::ParserOptions options = {},
               FabricOptions defaults = {});
  ~Cli();
  Cli(const Cli&) = delete;
  Cli& operator=(const Cli&) = delete;

  /// Adds a command: `run` is called with a launched Fabric and the command's configuration. It
  /// returns nothing, or what the program ends with; the largest of all ranks counts.
  /// @returns the command, for its links and defaults
  /// @throws MisconfigurationError for a name that is taken, or that is an option of all commands
  template <class Function>
  auto& command(std::string name, Function run, std::string about = {}) {
    using Arguments = typename config::detail::Signature<Function>::Arguments;
    static_assert(detail::is_command<Function>,
                  "a command is a function of (fabric::Fabric&, const Config&)");
    using Config = std::tuple_element_t<1, Arguments>;
    auto made = std::make_unique<Command<Config>>(
        std::move(name), std::move(about), detail::command_call<Config>(std::move(run)), defaults_);
    Command<Config>& added = *made;
    add(std::move(made));
    return added;
  }

  /// For main(): reads the command line, launches Fabric, sows the seed and runs the command. Ends
  /// the process where there is nothing to run, as Parser::parse does: on all ranks alike.
  /// An exception of the command is written to standard error, and ends all ranks.
  /// @returns 0, or what the command returns; 1 after an exception
  int run(int argc, const char* const* argv) const;

  /// What `run` does before it launches: for use inside of programs, and for tests.
  /// @throws config::ConfigError, config::ScreenRequest
  detail::CommandRun read(const config::detail::Inputs& inputs) const;

 private:
  void add(std::unique_ptr<detail::CommandBase> command);
  std::string help() const;

  config::ParserOptions options_;
  FabricOptions defaults_;
  std::vector<std::unique_ptr<detail::CommandBase>> commands_;
};

}  // namespace fabric
