// Choices of classes, links and commands that must not compile, each with a text that the compiler
// has to show.
#include <memory>
#include <tuple>

#include <fabric/cli.h>
#include <fabric/config.h>

struct Net {
  struct Options {
    int width = 64;
  };
  explicit Net(const Options&) {}
};
struct Big {
  struct Options {
    int depth = 2;
  };
  explicit Big(const Options&) {}
};
struct Twin {
  using Options = Net::Options;
  explicit Twin(const Options&) {}
};
struct Closed {  // is made from something else
  struct Options {
    int width = 64;
  };
  Closed() = default;
};

struct Logger {
  virtual ~Logger() = default;
};
struct Csv : Logger {
  struct Options {
    int every = 1;
  };
  Csv(const Options&, int) {}
};
template <>
struct fabric::Construct<Logger> {
  using Args = std::tuple<int>;
};

struct Config {
  int rows = 1;
  fabric::OneOf<Net, Big> model = Big::Options{.depth = 4};
  fabric::Class<Logger> logger{};
};

using Parser = fabric::config::Parser<Config>;

void good(Parser& parser, const Config& config) {
  parser.link("rows", "model.width").link("rows", "logger.anything");
  parser.link("model", "rows", [](const fabric::OneOf<Net, Big>&) { return 1; });
  config.model.make([](auto) {});
  config.logger.make(1);
  fabric::register_class<Logger, Csv>();
}

// CASE wrong_source: the_configuration_has_no_such_option
#ifdef CASE_wrong_source
void bad(Parser& parser) {
  parser.link("row", "model.width");
}
#endif

// CASE wrong_target: the_configuration_has_no_such_option
#ifdef CASE_wrong_target
void bad(Parser& parser) {
  parser.link("rows", "model.widht");
}
#endif

// CASE generic_function: the function of a link says what it takes
#ifdef CASE_generic_function
void bad(Parser& parser) {
  parser.link("rows", "model.width", [](auto rows) { return rows; });
}
#endif

// CASE other_options: non-scalar type
#ifdef CASE_other_options
fabric::OneOf<Net, Big> bad = Closed::Options{};
#endif

// CASE same_options: two of these classes are made from the same options
#ifdef CASE_same_options
fabric::OneOf<Net, Twin> bad = Net::Options{};
#endif

// CASE not_made_from_options: a class of OneOf is made from its options
#ifdef CASE_not_made_from_options
void bad(const fabric::OneOf<Net, Closed>& model) {
  model.make([](auto) {});
}
#endif

// CASE no_base: T has to derive from Base
#ifdef CASE_no_base
void bad() {
  fabric::register_class<Logger, Net>();
}
#endif

// CASE no_constructor: T is made from its options and what the program gives
#ifdef CASE_no_constructor
struct Other : Logger {
  struct Options {
    int every = 1;
  };
};
void bad() {
  fabric::register_class<Logger, Other>();
}
#endif

// CASE factory: a factory takes the options
#ifdef CASE_factory
void bad() {
  fabric::register_factory<Logger>("Csv",
                                   [](const Csv::Options&) { return std::unique_ptr<Logger>(); });
  fabric::register_factory<Logger>("Csv", [] { return std::unique_ptr<Logger>(); });
}
#endif

// CASE make_arguments: make takes what fabric::Construct<Base> declares
#ifdef CASE_make_arguments
void bad(const Config& config) {
  config.logger.make();
}
#endif

// CASE command: a command is a function of
#ifdef CASE_command
void fit(const Config&);
void bad(fabric::Cli& cli) {
  cli.command("fit", fit);
}
#endif
