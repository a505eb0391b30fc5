// Command lines: an argument on each line. What is taken is saved, and starts the same again.
#include <tests/fuzz/fuzz.h>

#include <chrono>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#include <accelerators/error.h>
#include <fabric/config.h>

namespace {

enum class Activation { relu, gelu, auto_ };

struct Model {
  int width = 64;
  Activation activation = Activation::auto_;
  std::vector<int> layers{1, 2};
  std::optional<double> dropout{};
  std::string invalid() const { return width >= 0 ? "" : "width is at least 0"; }
};

struct Tree {
  float value = 0;
  std::vector<Tree> children{};
};

struct Config {
  std::int8_t small = 1;
  std::uint64_t large = 1;
  double lr = 1e-3;
  bool flag = false;
  std::string name = "run";
  std::filesystem::path path{};
  std::vector<std::string> texts{"a"};
  std::vector<std::vector<double>> matrix{};
  std::map<std::string, double> weights{{"x", 1}};
  std::map<std::string, Model> models{};
  std::tuple<int, int> pair{1, 2};
  std::variant<std::string, int, std::vector<int>, Model> either = 3;
  std::optional<std::string> note{};
  std::chrono::milliseconds patience{100};
  Model model{};
  std::optional<Model> teacher{};
  Tree tree{};
};

// Files would let an input read what is not its own.
bool names_no_file(const std::string& argument) {
  return argument.find('/') == std::string::npos && argument.find("\\x2") == std::string::npos &&
         argument.find("\\u002") == std::string::npos &&
         argument.find("\\/") == std::string::npos && argument != "-" && !argument.ends_with("=-");
}

std::vector<std::string> lines_of(std::string_view input) {
  std::vector<std::string> lines;
  while (!input.empty()) {
    const std::size_t end = input.find('\n');
    std::string line(input.substr(0, end));
    if (names_no_file(line)) {
      lines.push_back(std::move(line));
    }
    input.remove_prefix(end == std::string_view::npos ? input.size() : end + 1);
  }
  return lines;
}

}  // namespace

void fuzz::read_input(std::string_view input) {
  static const fabric::config::Parser<Config> parser({.environment = "APP_"});
  const auto parse = [](std::vector<std::string> arguments) {
    return parser.read(
        {std::move(arguments), {{"APP_NAME", "n"}, {"HOME", "h"}}, "/no/such/folder"});
  };
  std::optional<fabric::config::Parsed<Config>> config;
  try {
    config = parse(lines_of(input));
  } catch (const fabric::config::ConfigError& error) {
    throw fabric::CheckpointError(error.what());
  } catch (const fabric::config::ScreenRequest& request) {
    throw fabric::CheckpointError(request.screen());
  }
  config->resolved().json();
  // A text of several lines is no name of a file. Whatever is thrown now is a mistake.
  const auto again = parse({"--config=\n" + config->yaml()});
  if (again.yaml() != config->yaml() || again.resolved().hash() != config->resolved().hash()) {
    throw std::logic_error("what was saved starts something else:\n" + config->yaml() +
                           again.yaml());
  }
}
