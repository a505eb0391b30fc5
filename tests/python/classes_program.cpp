// Parses lists of arguments, one a line as JSON, into a struct with classes and links, and prints
// each result as JSON: all options as texts, or what is wrong. The classes are those of
// classes_test.py.
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <fabric/config.h>

struct Net {
  struct Options {
    int width = 64;
    std::string act = "relu";
    int batch = 0;
  };
  explicit Net(const Options&) {}
};
struct Big {
  struct Options {
    int depth = 2;
    int width = 8;
    bool act = true;  // another type than Net's
  };
  explicit Big(const Options&) {}
};
struct Tiny {
  struct Options {
    double rate = 0.5;
  };
  explicit Tiny(const Options&) {}
};

using Model = fabric::OneOf<Net, Big, Tiny>;

struct Config {
  int rows = 2;
  std::string strategy = "auto";
  Model model = "Net";
  std::vector<Model> blocks{};
};

int main() {
  fabric::config::Parser<Config> parser;
  parser.link("rows", "model.batch");
  parser.link("model", "strategy", [](const Model& model) {
    if (const auto* net = model.get_if<Net::Options>()) {
      return net->width > 100 ? "wide" : "narrow";
    }
    return "other";
  });
  for (std::string line; std::getline(std::cin, line);) {
    nlohmann::json answer;
    try {
      const auto config = parser.read(nlohmann::json::parse(line).get<std::vector<std::string>>());
      for (const fabric::config::Option& option : config.options()) {
        if (option.path != "blocks") {
          const std::string& text = option.text;  // without the quotes that YAML needs
          const bool quoted = text.size() > 1 && text.front() == '"' && text.back() == '"';
          answer["values"][option.path] = quoted ? text.substr(1, text.size() - 2) : text;
        }
      }
      for (const Model& block : config->blocks) {
        const auto* net = block.get_if<Net::Options>();
        const auto* big = block.get_if<Big::Options>();
        answer["values"]["blocks"] += block.name() + " " +
                                      std::to_string(net != nullptr   ? net->width
                                                     : big != nullptr ? big->width
                                                                      : 0);
      }
    } catch (const fabric::config::ConfigError& error) {
      answer = {{"error", error.what()}};
    }
    std::cout << answer.dump() << "\n";
  }
}
