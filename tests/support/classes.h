// Classes that tests choose by name: two models of a closed choice, and loggers of an open one.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <fabric/config.h>
#include <tests/support/config.h>

namespace classes {

struct Encoder {
  struct Options {
    int size = 5;
  };
  explicit Encoder(const Options& options) : size(options.size) {}
  int size;
};
struct Pooling {};  // made from nothing

struct NetImpl {
  struct Options {
    int width = 64;
    FABRIC_HELP(width, "units of a layer")
    std::string act = "relu";
    fabric::Provided<int> classes{};
    fabric::OneOf<Encoder, Pooling> encoder = "Encoder";

    std::string invalid() const { return width > 0 ? "" : "width is above 0"; }
  };
  explicit NetImpl(const Options& options, int extra = 0) : options(options), extra(extra) {}
  Options options;
  int extra;
};

struct Big {
  struct Options {
    int depth = 2;
    std::vector<int> layers{1, 2};
    double act = 0.5;  // another type than Net's
    int width = 8;
  };
  explicit Big(const Options& options, int = 0) : options(options) {}
  Options options;
};

struct Logger {
  virtual ~Logger() = default;
  virtual std::string line() const = 0;
};
struct Csv : Logger {
  struct Options {
    std::string file = "log.csv";
    int every = 1;
  };
  Csv(const Options& options, int run) : options(options), run(run) {}
  std::string line() const override { return options.file + "#" + std::to_string(run); }
  Options options;
  int run;
};
struct Quiet : Logger {
  explicit Quiet(int) {}
  std::string line() const override { return "quiet"; }
};
struct Remote {  // somebody else's
  std::string host = "here";
};
struct RemoteLogger : Logger {
  explicit RemoteLogger(std::string host) : host(std::move(host)) {}
  std::string line() const override { return host; }
  std::string host;
};

}  // namespace classes

template <>
struct fabric::Construct<classes::Logger> {
  using Args = std::tuple<int>;
};

namespace classes {

inline const bool registered = [] {
  fabric::register_class<Logger, Csv>();
  fabric::register_class<Logger, Quiet>("Quiet");
  fabric::register_factory<Logger>("Remote", [](const Remote& options, int) {
    return std::make_unique<RemoteLogger>(options.host);
  });
  fabric::register_factory<Logger>("Void",
                                   [](int) { return std::make_shared<RemoteLogger>("void"); });
  return true;
}();

struct Config {
  int epochs = 3;
  fabric::OneOf<NetImpl, Big> model = Big::Options{.depth = 4};
  std::optional<fabric::OneOf<NetImpl, Big>> teacher{};
  fabric::Class<Logger> logger = "Csv";
  std::vector<fabric::Class<Logger>> loggers{"Quiet"};
  std::map<std::string, fabric::Class<Logger>> named{};
};

struct Open {
  fabric::OneOf<NetImpl, Big> model{};
};

template <class T = Config>
auto read(const support::ConfigFolder& folder, std::vector<std::string> arguments,
          std::vector<std::pair<std::string, std::string>> variables = {},
          fabric::config::ParserOptions options = {}) {
  return fabric::config::Parser<T>(std::move(options))
      .read(folder.inputs(std::move(arguments), std::move(variables)));
}

template <class T = Config>
std::string wrong(std::vector<std::string> arguments) {
  const support::ConfigFolder folder;
  return support::problems_of([&] { read<T>(folder, arguments); });
}

}  // namespace classes
