// Links: values that come from other options, where the selected classes have both.
#include <doctest/doctest.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <fabric/config.h>
#include <fabric/config/run/resolved_tree.h>
#include <fabric/config/sources/handed.h>
#include <tests/support/config.h>

using fabric::MisconfigurationError;
using fabric::config::Parser;
using support::has;
using support::problems_of;
using support::refusal_of;

namespace {

struct Net {
  struct Options {
    int width = 64;
    std::optional<int> batch_size{};
  };
  explicit Net(const Options&) {}
};
struct Big {
  struct Options {
    int depth = 2;
    int width = 8;
  };
  explicit Big(const Options&) {}
};

struct Callback {
  virtual ~Callback() = default;
};
struct Print : Callback {
  struct Options {
    int batch_size = 0;
  };
  explicit Print(const Options&) {}
};
struct Stop : Callback {};

struct Data {
  int batch_size = 32;
  int rows = 2;
  int columns = 3;
  std::optional<double> share{};
};
struct Run {
  std::string strategy = "auto";
  int devices = 1;
};

using Model = fabric::OneOf<Net, Big>;

struct Config {
  Data data{};
  Model model = "Net";
  fabric::Required<int> inputs{};
  std::vector<fabric::Class<Callback>> callbacks{};
  std::optional<Data> validation{};
  Run run{};
};

void register_callbacks() {
  static const bool once = [] {
    fabric::register_class<Callback, Print>();
    fabric::register_class<Callback, Stop>();
    return true;
  }();
  static_cast<void>(once);
}

// What a parser with these links reads from arguments; `inputs` is given unless a link gives it.
struct Case {
  Case() { register_callbacks(); }
  support::ConfigFolder folder;
  Parser<Config> parser;

  auto read(std::vector<std::string> arguments) const {
    return parser.read(folder.inputs(std::move(arguments)));
  }
  std::string wrong(std::vector<std::string> arguments) const {
    return problems_of([&] { read(arguments); });
  }
  std::string screen(std::vector<std::string> arguments) const {
    try {
      read(std::move(arguments));
    } catch (const fabric::config::ScreenRequest& request) {
      return request.screen();
    }
    return {};
  }
};

int area(int rows, int columns) {
  return rows * columns;
}

}  // namespace

TEST_SUITE("fabric.config.links") {
  TEST_CASE("a link gives one option the value of another") {
    Case c;
    c.parser.link("data.batch_size", "inputs");
    CHECK(*c.read({})->inputs == 32);
    const auto config = c.read({"--data.batch_size=5"});
    CHECK(*config->inputs == 5);
    CHECK(config.origin("inputs").text() == "link data.batch_size → inputs");
    CHECK(config.links() == "data.batch_size → inputs: 5\n");
    CHECK(has(c.wrong({"--data.batch_size=x"}), {"--data.batch_size (argument 1): got 'x'"}));
  }

  TEST_CASE("a link applies where the selected class has the target") {
    Case c;
    c.parser.link("data.batch_size", "model.batch_size");
    CHECK(c.read({"--inputs=1"})->model.get_if<Net::Options>()->batch_size == 32);
    const auto big = c.read({"--inputs=1", "--model=Big"});
    CHECK(big->model.is("Big"));
    CHECK(big.links() ==
          "data.batch_size → model.batch_size: skipped; Big has no option 'batch_size'\n");
    CHECK(big.resolved().skipped_links() ==
          std::vector<std::string>{
              "data.batch_size → model.batch_size: Big has no option 'batch_size'"});
    CHECK(c.read({"--inputs=1"}).resolved().skipped_links().empty());
    CHECK(
        has(refusal_of([&] { c.parser.link("data.batch_size", std::string("model.batch_siez")); }),
            {"data.batch_size → model.batch_siez", "no option 'model.batch_siez'",
             "Did you mean model.batch_size?"}));
  }

  TEST_CASE("a link applies where the selected class has the source") {
    Case c;
    c.parser.link("model.depth", "inputs");
    CHECK(*c.read({"--model=Big", "--model.depth=9"})->inputs == 9);
    CHECK(*c.read({"--inputs=4"})->inputs == 4);  // Net has no depth: the option is the user's
    CHECK(
        has(c.wrong({}), {"inputs: a value is missing; expected int",
                          "The link model.depth → inputs is skipped: Net has no option 'depth'."}));
  }

  TEST_CASE("a whole class is a source and the answer differs by class") {
    Case c;
    c.parser.link("model", "run.strategy", [](const Model& model) {
      if (const auto* net = model.get_if<Net::Options>()) {
        return net->width > 4096 ? "fsdp" : "ddp";
      }
      return "auto";
    });
    CHECK(c.read({"--inputs=1"})->run.strategy == "ddp");
    CHECK(c.read({"--inputs=1", "--model.width=5000"})->run.strategy == "fsdp");
    CHECK(c.read({"--inputs=1", "--model=Big"})->run.strategy == "auto");
    CHECK(c.read({"--inputs=1", "--model=Big"}).links() == "f(model) → run.strategy: auto\n");
  }

  TEST_CASE("a section and several options are sources") {
    Case c;
    c.parser.link("data", "run.devices", [](const Data& data) { return data.rows + 10; });
    c.parser.link({"data.rows", "data.columns"}, "inputs", area);
    const auto config = c.read({"--data.columns=7"});
    CHECK(config->run.devices == 12);
    CHECK(*config->inputs == 14);
    CHECK(has(config.links(), {"f(data.rows, data.columns) → inputs: 14"}));
  }

  TEST_CASE("links build on each other in any order of definition") {
    Case c;
    c.parser.link("inputs", "run.devices");
    c.parser.link("data.batch_size", "inputs");
    c.parser.link("run.devices", "model.width");
    const auto config = c.read({"--data.batch_size=6"});
    CHECK(config->run.devices == 6);
    CHECK(config->model.get_if<Net::Options>()->width == 6);
  }

  TEST_CASE("a link chooses a class and another one gives its option") {
    Case c;
    c.parser.link("data.rows", "model.depth");
    c.parser.link("data.columns", "model", [](int columns) { return columns > 3 ? "Big" : "Net"; });
    CHECK(c.read({"--inputs=1"})->model.is("Net"));
    const auto config = c.read({"--inputs=1", "--data.columns=4"});
    REQUIRE(config->model.is("Big"));
    CHECK(config->model.get_if<Big::Options>()->depth == 2);
    CHECK(config->model.get_if<Big::Options>()->width == 8);
    CHECK(has(c.wrong({"--inputs=1", "--model=Big"}), {"f(data.columns) → model gives it"}));
    CHECK(has(c.wrong({"--inputs=1", "--model.width=1"}), {"f(data.columns) → model gives it"}));
  }

  TEST_CASE("all classes of a list that have the target get it") {
    Case c;
    c.parser.link("data.batch_size", "callbacks.batch_size");
    const auto config = c.read({"--inputs=1", "--callbacks=[Print, Stop, Print]"});
    CHECK(config->callbacks[0].get_if<Print::Options>()->batch_size == 32);
    CHECK(config->callbacks[2].get_if<Print::Options>()->batch_size == 32);
    CHECK(config.yaml().find("batch_size: 32", config.yaml().find("callbacks")) ==
          std::string::npos);
    CHECK(
        has(c.read({"--inputs=1", "--callbacks=[Stop]"}).links(), {"skipped; Stop has no option"}));
    CHECK(has(c.read({"--inputs=1"}).links(), {"skipped; callbacks has no element"}));
    CHECK(has(c.wrong({"--inputs=1", "--callbacks+={class_path: Print, batch_size: 3}"}),
              {"callbacks.batch_size", "gives it"}));
  }

  TEST_CASE("what is left out or null skips a link") {
    Case c;
    c.parser.link("data.batch_size", "validation.batch_size");
    c.parser.link("validation.rows", "run.devices");
    c.parser.link("data.share", "inputs",
                  [](double share) { return static_cast<int>(share * 10); });
    const auto without = c.read({"--inputs=1"});
    CHECK_FALSE(without->validation.has_value());
    CHECK(has(without.links(), {"validation.batch_size: skipped; validation is left out",
                                "run.devices: skipped; validation is left out",
                                "inputs: skipped; data.share is null"}));
    const auto with = c.read({"--validation.rows=4", "--data.share=0.5"});
    CHECK(with->validation->batch_size == 32);
    CHECK(with->run.devices == 4);
    CHECK(*with->inputs == 5);
  }

  TEST_CASE("a function may take null and may give no value") {
    Case c;
    c.parser.link("data.share", "run.devices",
                  [](std::optional<double> share) -> std::optional<int> {
                    return share ? std::nullopt : std::optional(8);
                  });
    CHECK(c.read({"--inputs=1"})->run.devices == 8);
    const auto config = c.read({"--inputs=1", "--data.share=1", "--run.devices=3"});
    CHECK(config->run.devices == 3);
    CHECK(has(config.links(), {"skipped; the function gives no value"}));
  }

  TEST_CASE("a target cannot be given, wherever") {
    Case c;
    c.parser.link("data.batch_size", "model.batch_size").link("data.rows", "inputs");
    c.folder.write("in.yaml", "inputs: 4\nmodel:\n  batch_size: 1\n");
    CHECK(has(c.wrong({"--config=in.yaml"}),
              {"in.yaml:1:1: inputs: the link data.rows → inputs gives it; it cannot be given",
               "in.yaml:3:3: model.batch_size: the link data.batch_size → model.batch_size"}));
    CHECK(has(c.wrong({"--model.batch_size=1"}), {"--model.batch_size (argument 1)", "gives it"}));
    CHECK(has(c.wrong({"--inputs", "1"}), {"--inputs (argument 1)", "gives it"}));
  }

  TEST_CASE("targets vanish from help and files; a saved file starts the same run") {
    Case c;
    c.parser.link("data.batch_size", "model.batch_size").link("data.rows", "inputs");
    const auto config = c.read({"--data.batch_size=7"});
    CHECK(config.yaml().find("inputs") == std::string::npos);
    CHECK(config.yaml().find("batch_size: 7") == config.yaml().rfind("batch_size"));
    c.folder.write("saved.yaml", config.yaml());
    const auto again = c.read({"--config=saved.yaml"});
    CHECK(again->model.get_if<Net::Options>()->batch_size == 7);
    CHECK(again.resolved().hash() == config.resolved().hash());
    const std::string printed = c.screen({"--print_config"});
    CHECK(printed.find("inputs") == std::string::npos);
    const std::string help = c.screen({"--help"});
    CHECK(help.find("--inputs") == std::string::npos);
    CHECK(help.find("--model.batch_size") == std::string::npos);
    CHECK(has(help, {"--model.width", "data.rows → inputs", "--print_links"}));
    CHECK(c.screen({"--model.help=Net"}).find("batch_size") == std::string::npos);
    CHECK(c.screen({"--print_links", "--model=Big"}) ==
          "data.batch_size → model.batch_size: skipped; Big has no option 'batch_size'\n"
          "data.rows → inputs: 2\n");
  }

  TEST_CASE("printing a configuration calls no functions") {
    Case c;
    int calls = 0;
    c.parser.link("data.rows", "inputs", [&calls](int rows) {
      ++calls;
      return rows;
    });
    CHECK(has(c.screen({"--print_config"}), {"rows: 2"}));
    CHECK(calls == 0);
    c.read({});
    CHECK(calls == 1);
  }

  TEST_CASE("what a function throws, and what it returns, is an error that names the link") {
    Case c;
    c.parser.link("data.rows", "inputs", [](int rows) -> int {
      if (rows < 0) {
        throw std::runtime_error("rows below 0");
      }
      return rows;
    });
    c.parser.link("data.columns", "run.devices",
                  [](int columns) { return std::to_string(columns) + "!"; });
    CHECK(has(c.wrong({"--data.rows=-1"}),
              {"link f(data.rows) → inputs: inputs: the function failed: rows below 0",
               "link f(data.columns) → run.devices: run.devices: got '3!'; expected int"}));
  }

  TEST_CASE("links follow references, and references see what was given") {
    Case c;
    c.parser.link("data.rows", "inputs");
    CHECK(*c.read({"--data.rows=${data.columns}", "--data.columns=9"})->inputs == 9);
  }

  TEST_CASE("a started process has what links gave in the one that started it") {
    Case c;
    int calls = 0;
    c.parser.link("data.rows", "inputs", [&calls](int rows) {
      ++calls;
      return rows;
    });
    c.parser.link("data.columns", "run.devices",
                  [](int columns) { return columns > 5 ? std::optional(columns) : std::nullopt; });
    const auto config = c.read({"--data.rows=4", "--run.devices=2"});
    const auto& tree = *config.resolved().tree();
    const auto child = c.parser.read(c.folder.inputs(
        {"--data.rows=5"}, fabric::config::detail::variables_to_hand(*tree.type, tree.given)));
    CHECK(*child->inputs == 4);
    CHECK(child->run.devices == 2);
    CHECK(calls == 1);
    CHECK(child.yaml() == config.yaml());
    CHECK(child.links() == config.links());
    CHECK(child.resolved().hash() == config.resolved().hash());
  }

  TEST_CASE("links that cannot be are refused when they are made") {
    const auto refused = [](auto&& make) {
      register_callbacks();
      Parser<Config> parser;
      return refusal_of([&] { make(parser); });
    };
    CHECK(has(refused([](auto& p) { p.link(std::string("data.foo"), "inputs"); }),
              {"no option 'data.foo'"}));
    CHECK(
        has(refused([](auto& p) { p.link("data.rows", "inputs").link("data.columns", "inputs"); }),
            {"data.columns → inputs", "target of data.rows → inputs already"}));
    CHECK(has(refused([](auto& p) { p.link("data.rows", "data.rows"); }),
              {"it makes a cycle: data.rows → data.rows"}));
    CHECK(has(refused([](auto& p) {
                p.link("data.rows", "data.columns").link("data.columns", "data.rows");
              }),
              {"cycle: ", "data.rows → data.columns", "data.columns → data.rows"}));
    CHECK(has(refused([](auto& p) {
                p.link("data.rows", "data.columns")
                    .link("data.columns", "data.batch_size")
                    .link("data.batch_size", "data.rows");
              }),
              {"cycle: "}));
    CHECK(has(
        refused([](auto& p) { p.link("model", "model.width", [](const Model&) { return 1; }); }),
        {"cycle: f(model) → model.width"}));
    CHECK(has(refused([](auto& p) {
                p.link({"data.rows", "data.columns"}, "inputs", [](int rows) { return rows; });
              }),
              {"the function takes 1 values, and there are 2 sources"}));
    CHECK(has(refused([](auto& p) {
                p.link("data.rows", "inputs", [](const std::string&) { return 1; });
              }),
              {"data.rows is int, and the function takes text"}));
    CHECK(has(refused([](auto& p) { p.link("data", "inputs"); }),
              {"data is section, and inputs int"}));
  }

  TEST_CASE("a target that no registered class has is refused when parsing starts") {
    Case c;
    c.parser.link("data.rows", "callbacks.bacth_size");  // a class to come might have it
    CHECK(has(refusal_of([&] { c.read({"--inputs=1"}); }),
              {"data.rows → callbacks.bacth_size",
               "no option 'callbacks.bacth_size', whatever class is"}));
  }
}
