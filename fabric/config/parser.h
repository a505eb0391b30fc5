// Parser: one struct is the keyword arguments, files, variables, command line and help of a
// program.
//
//     struct Model {
//       int width = 64;
//       FABRIC_HELP(width, "units of a layer")
//     };
//     struct Config {
//       fabric::Required<std::filesystem::path> data{};
//       double lr = 1e-3;
//       Model model{};
//       fabric::FabricOptions fabric{};
//     };
//
//     int main(int argc, char** argv) {
//       auto config = fabric::config::parse<Config>(argc, argv);   // --lr=0.1 --model.width 128
//       fabric::Fabric fabric(config->fabric);
//       fabric.launch(argc, argv);
#pragma once

#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fabric/config/links/linking.h>
#include <fabric/config/links/path.h>
#include <fabric/config/options.h>
#include <fabric/config/resolved.h>
#include <fabric/config/run/ending.h>
#include <fabric/config/run/parse.h>
#include <fabric/config/run/save.h>
#include <fabric/config/types/type_of.h>

namespace fabric::config {

/// What Parser::read throws instead of a value where the arguments ask for a screen.
class ScreenRequest : public std::exception {
 public:
  explicit ScreenRequest(std::string screen) : screen_(std::move(screen)) {}
  const std::string& screen() const { return screen_; }
  const char* what() const noexcept override { return screen_.c_str(); }

 private:
  std::string screen_;
};

/// A struct with its values, and where they come from. Reads as the struct; copies share it.
template <class Config>
class Parsed {
 public:
  Parsed(std::shared_ptr<const Config> value, detail::Answer answer)
      : value_(std::move(value)),
        resolved_(std::move(answer.resolved)),
        notes_(std::move(answer.notes)),
        links_(std::move(answer.links)) {}

  const Config& operator*() const { return *value_; }
  const Config* operator->() const { return value_.get(); }
  operator const Config&() const { return *value_; }

  /// Where the value of an option comes from: "train.yaml:3:7", "--lr (argument 2)", "default".
  /// @throws MisconfigurationError for an option that there is not
  Place origin(std::string_view option) const { return resolved_.origin(option); }
  /// All options with values and places; loggers take their hyper-parameters here. A copy where
  /// this object is a temporary, so that a loop over `parse(…).options()` has something to walk on.
  const std::vector<Option>& options() const& { return resolved_.options(); }
  std::vector<Option> options() && { return resolved_.options(); }
  /// A file that starts the same run again.
  std::string yaml() const { return resolved_.yaml(); }
  /// Writes it into the folder of the run, on the first rank; see config::save.
  std::filesystem::path save(const std::filesystem::path& folder) const {
    return config::save(resolved_, folder);
  }
  /// What is odd, and no error: variables under the program's prefix that are no option's, options
  /// that were given for a class before another one was chosen.
  const std::vector<std::string>& notes() const& { return notes_; }
  std::vector<std::string> notes() && { return std::move(notes_); }
  /// Every link, the value that it gave, or why it was skipped; a line each, as --print_links
  /// shows.
  std::string links() const { return detail::links_screen(links_); }
  const Resolved& resolved() const { return resolved_; }

 private:
  std::shared_ptr<const Config> value_;
  Resolved resolved_;
  std::vector<std::string> notes_;
  std::vector<detail::LinkOutcome> links_;
};

/// Reads a struct from default files, variables and arguments, in this order; later values win.
/// README.md beside this file has the rules.
template <class Config>
class Parser : public detail::Linking<Parser<Config>, detail::PathOf<Config>> {
  static_assert(
      detail::Aggregate<Config>,
      "a configuration is a plain struct: no constructor, no base class, nothing private");

 public:
  /// The path of an option; a literal that names none does not compile.
  using Path = detail::PathOf<Config>;

  /// @param defaults what the program has before anything is read
  /// @throws MisconfigurationError for a field that has the name of an option of the parser itself:
  ///         `config`, `help`, `print_config`, `print_links`
  explicit Parser(ParserOptions options = {}, Config defaults = {}) : options_(std::move(options)) {
    shape_ = {&detail::type_of<Config>(), [defaults = std::move(defaults)] {
                return std::static_pointer_cast<void>(std::make_shared<Config>(defaults));
              }};
    detail::check_names(*shape_.type);
  }

  /// For main(). Ends the process where there is nothing to run: with 0 after --help and
  /// --print_config, with 2 after all errors were written. Works before MPI starts, on all ranks.
  Parsed<Config> parse(int argc, const char* const* argv) const {
    ParserOptions options = options_;
    if (options.program.empty() && argc > 0) {
      options.program = std::filesystem::path(argv[0]).filename().string();
    }
    try {
      Parsed<Config> parsed = read(options, {argv + std::min(argc, 1), argv + argc});
      detail::show_notes(options.program, parsed.notes());
      return parsed;
    } catch (const ScreenRequest& request) {
      detail::end_with_screen(request.screen());
    } catch (const ConfigError& error) {
      detail::end_with_errors(options.program, error);
    }
  }

  /// For use inside of programs: ends nothing.
  /// @param arguments without the program's name
  /// @throws ConfigError with everything that is wrong; ScreenRequest for --help and --print_config
  Parsed<Config> read(const std::vector<std::string>& arguments) const {
    return read(options_, arguments);
  }
  /// The same with other variables and another working directory than those of the process.
  Parsed<Config> read(const detail::Inputs& inputs) const { return read(options_, inputs); }

 private:
  friend class detail::Linking<Parser, Path>;
  void add_link(detail::Link link) {
    shape_.links.add(detail::structure(*shape_.type), std::move(link));
  }
  Parsed<Config> read(const ParserOptions& options, std::vector<std::string> arguments) const {
    return read(options, detail::inputs_of_process(std::move(arguments)));
  }
  Parsed<Config> read(const ParserOptions& options, const detail::Inputs& inputs) const {
    detail::Answer answer = detail::parse(shape_, options, inputs);
    if (!answer.screen.empty()) {
      throw ScreenRequest(std::move(answer.screen));
    }
    std::shared_ptr<const void> value = std::move(answer.value);
    return {std::static_pointer_cast<const Config>(std::move(value)), std::move(answer)};
  }

  ParserOptions options_;
  detail::Shape shape_;
};

/// Parser in one call.
template <class Config>
Parsed<Config> parse(int argc, const char* const* argv, ParserOptions options = {}) {
  return Parser<Config>(std::move(options)).parse(argc, argv);
}

}  // namespace fabric::config
