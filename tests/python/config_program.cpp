// Parses lists of arguments, one a line as JSON, and prints each result as JSON: the values, or
// what is wrong. The struct is that of config_test.py.
#include <iostream>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <fabric/config.h>
#include <fabric/config/tree/builder.h>
#include <fabric/config/tree/json.h>

enum class Activation { relu, gelu, tanh };

struct Model {
  int width = 64;
  Activation activation = Activation::relu;
  std::vector<int> layers{1, 2};
  std::optional<double> dropout{};
};

struct Config {
  int epochs = 3;
  double lr = 0.1;
  bool verbose = false;
  std::string name = "run";
  std::vector<std::string> tags{"a"};
  std::map<std::string, double> weights{{"x", 1}};
  std::variant<int, std::string> either = 1;
  std::optional<std::string> note{};
  Model model{};
  std::optional<Model> teacher{};
};

namespace {

std::string quoted(const std::string& text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string json = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      json += {'\\', c};
    } else if (byte < 0x20) {
      json += {'\\', 'u', '0', '0', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      json += c;
    }
  }
  return json + '"';
}

}  // namespace

int main() {
  const fabric::config::Parser<Config> parser({.environment = "APP_"});
  for (std::string line; std::getline(std::cin, line);) {
    const auto words =
        fabric::config::detail::read_json(line, std::make_shared<fabric::config::Source>());
    std::vector<std::string> arguments;
    for (const auto& word : words.items) {
      arguments.push_back(word.text);
    }
    try {
      const std::string values = parser.read(arguments).resolved().json();
      std::cout << "{\"values\": " << values << "}\n";
    } catch (const fabric::config::ConfigError& error) {
      std::cout << "{\"error\": " << quoted(error.what()) << "}\n";
    }
  }
}
