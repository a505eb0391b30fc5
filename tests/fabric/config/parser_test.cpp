// A struct from its sources: which wins, how each is spelled, what comes out again.
#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>

#include <fabric/config.h>
#include <tests/support/config.h>

using fabric::config::Parser;
using support::has;
using support::problems_of;
using namespace std::chrono_literals;

namespace {

enum class Activation { relu, gelu, auto_ };

struct Model {
  int width = 64;
  FABRIC_HELP(width, "units of a layer")
  Activation activation = Activation::relu;
  std::vector<int> layers{1, 2};
  std::optional<double> dropout{};
};

struct Optimizer {
  double lr = 1e-3;
  std::array<double, 2> betas{0.9, 0.999};
  std::string invalid() const { return lr > 0 ? "" : "lr is above 0"; }
};

struct Config {
  int epochs = 3;
  std::string name = "run";
  bool verbose = false;
  Model model{};
  std::optional<Optimizer> optimizer{};
  std::vector<std::string> callbacks{"print"};
  std::map<std::string, double> weights{{"a", 1}};
  std::filesystem::path data = "data";
  std::variant<std::string, int, Model> choice = 3;
};

template <class T = Config>
auto read(const support::ConfigFolder& folder, std::vector<std::string> arguments,
          std::vector<std::pair<std::string, std::string>> variables = {},
          fabric::config::ParserOptions options = {}) {
  return Parser<T>(std::move(options))
      .read(folder.inputs(std::move(arguments), std::move(variables)));
}

}  // namespace

TEST_SUITE("fabric.config.parser") {
  TEST_CASE("later sources win over earlier ones") {
    const support::ConfigFolder folder;
    folder.write("conf/1.yaml", "epochs: 11\nname: one\nmodel: {width: 1}\n");
    folder.write("conf/2.yaml", "epochs: 12\n");
    folder.write("given.yaml", "epochs: 13\n");
    const fabric::config::ParserOptions options{.environment = "APP_",
                                                .default_files = {"conf/*.yaml", "none.yaml"}};
    const auto epochs = [&](std::vector<std::string> arguments,
                            std::vector<std::pair<std::string, std::string>> variables = {}) {
      return read(folder, std::move(arguments), std::move(variables), options)->epochs;
    };
    CHECK(read(folder, {})->epochs == 3);
    CHECK(epochs({}) == 12);
    CHECK(epochs({}, {{"APP_CONFIG", "given.yaml"}}) == 13);
    CHECK(epochs({}, {{"APP_CONFIG", "given.yaml"}, {"APP_EPOCHS", "14"}}) == 14);
    CHECK(epochs({}, {{"APP_EPOCHS", ""}}) == 12);  // empty is unset
    CHECK(epochs({"--config=given.yaml"}, {{"APP_EPOCHS", "14"}}) == 13);
    CHECK(epochs({"--epochs=15"}, {{"APP_EPOCHS", "14"}}) == 15);
    CHECK(epochs({"--config=given.yaml", "--epochs=15"}) == 15);
    CHECK(epochs({"--epochs=15", "--config=given.yaml"}) == 13);
    CHECK(epochs({"--epochs=15", "--epochs", "16"}) == 16);
    CHECK(epochs({"--epochs=15", "-c", "{epochs: 17}"}) == 17);
    // The same file again is a later source.
    CHECK(epochs({"--config=given.yaml", "--epochs=15", "--config=given.yaml"}) == 13);
    CHECK(epochs({"--config=given.yaml", "--config=conf/2.yaml"}) == 12);
    const auto all = read(folder, {"--model.width=5"}, {}, options);
    CHECK(all->name == "one");  // files are merged by option
    CHECK(all->model.width == 5);
    CHECK(all->model.layers == std::vector<int>{1, 2});
  }

  TEST_CASE("places tell where values come from") {
    const support::ConfigFolder folder;
    folder.write("a.yaml", "epochs: 4\nmodel:\n  width: 8\n");
    const auto config = read(folder, {"--config", "a.yaml", "--name=x"}, {{"APP_VERBOSE", "true"}},
                             {.environment = "APP_"});
    CHECK(config.origin("epochs").text() == "a.yaml:1:9");
    CHECK(config.origin("model.width").text() == "a.yaml:3:10");
    CHECK(config.origin("name").text() == "--name (argument 3)");
    CHECK(config.origin("verbose").text() == "APP_VERBOSE");
    CHECK(config.origin("model.layers").text() == "default");
    CHECK_FALSE(config.origin("data").given());
    CHECK_THROWS_WITH_AS(config.origin("model.widht"),
                         doctest::Contains("got 'model.widht'. Did you mean model.width?"),
                         fabric::MisconfigurationError);
  }

  TEST_CASE("one option has one name however it is spelled") {
    const support::ConfigFolder folder;
    folder.write("nested.yaml", "model:\n  width: 1\n");
    folder.write("dotted.yaml", "model.width: 2\n");
    folder.write("both.yaml", "model.width: 2\nmodel:\n  width: 1\n");
    folder.write("model.json", "{\"width\": 3, \"layers\": [3]}");
    CHECK(read(folder, {"--config=nested.yaml", "--config=dotted.yaml"})->model.width == 2);
    CHECK(read(folder, {"--config=dotted.yaml", "--config=nested.yaml"})->model.width == 1);
    CHECK(has(problems_of([&] { read(folder, {"--config=both.yaml"}); }),
              {"both.yaml:3:3: model.width: comes twice; the first is at both.yaml:1:1"}));
    const auto config =
        read(folder, {"--model.width=9", "--model=model.json", "--model.layers+=4"});
    CHECK(config->model.width == 3);
    CHECK(config->model.layers == std::vector<int>{3, 4});
    CHECK(read(folder, {"--model", "{width: 7}"})->model.width == 7);
  }

  TEST_CASE("lists and maps are replaced whole and grow by plus and by dots") {
    const support::ConfigFolder folder;
    folder.write("a.yaml", "model: {layers: [5]}\nweights: {b: 2}\n");
    folder.write("more.yaml", "model:\n  layers+: [6, 7]\ncallbacks+: save\n");
    CHECK(read(folder, {"--config=a.yaml"})->model.layers == std::vector<int>{5});
    CHECK(read(folder, {"--config=a.yaml"})->weights == std::map<std::string, double>{{"b", 2}});
    CHECK(read(folder, {"--config=more.yaml"})->model.layers == std::vector<int>{1, 2, 6, 7});
    CHECK(read(folder, {"--config=a.yaml", "--config=more.yaml"})->model.layers ==
          std::vector<int>{5, 6, 7});
    CHECK(read(folder, {"--config=more.yaml"})->callbacks ==
          std::vector<std::string>{"print", "save"});
    CHECK(read(folder, {"--model.layers+=7"})->model.layers == std::vector<int>{1, 2, 7});
    CHECK(read(folder, {"--model.layers=8,9", "--model.layers+=1,2", "--model.layers+", "3"})
              ->model.layers == std::vector<int>{8, 9, 1, 2, 3});
    CHECK(read(folder, {"--callbacks+=[a, b]"})->callbacks ==
          std::vector<std::string>{"print", "a", "b"});
    CHECK(read(folder, {"--weights.c=3"})->weights ==
          std::map<std::string, double>{{"a", 1}, {"c", 3}});
    CHECK(read(folder, {"--config=a.yaml", "--weights.c=3"})->weights ==
          std::map<std::string, double>{{"b", 2}, {"c", 3}});
    CHECK(read(folder, {"--weights={b: 2}", "--weights.c=3"})->weights ==
          std::map<std::string, double>{{"b", 2}, {"c", 3}});
    CHECK(read(folder, {"--weights={}", "--weights.c=3"})->weights ==
          std::map<std::string, double>{{"c", 3}});
    CHECK(has(problems_of([&] {
                read(folder, {"--weights={b: [}", "--weights.c=3"});
              }),
              {"--weights (argument 1): not YAML"}));
    CHECK(has(problems_of([&] { read(folder, {"--epochs+=1"}); }),
              {"--epochs (argument 1): '+' adds to a list; epochs is int"}));
  }

  TEST_CASE("a section that may be left out appears with its first option") {
    const support::ConfigFolder folder;
    CHECK_FALSE(read(folder, {})->optimizer.has_value());
    const auto config = read(folder, {"--optimizer.betas=[0.5, 0.6]"});
    REQUIRE(config->optimizer.has_value());
    CHECK(config->optimizer->lr == 1e-3);
    CHECK(config->optimizer->betas == std::array<double, 2>{0.5, 0.6});
    // A list of it grows from the default of its struct.
    struct Teacher {
      std::optional<Model> model{};
    };
    CHECK(read<Teacher>(folder, {"--model.layers+=9"})->model->layers == std::vector<int>{1, 2, 9});
    CHECK_FALSE(read(folder, {"--optimizer.lr=1", "--optimizer=null"})->optimizer.has_value());
    CHECK(read(folder, {"--optimizer=null", "--optimizer.lr=1"})->optimizer->lr == 1);
    CHECK(read(folder, {"--model.dropout=0.5", "--model.dropout", "null"})->model.dropout ==
          std::nullopt);
  }

  TEST_CASE("variants take the first type that fits and text last") {
    const support::ConfigFolder folder;
    CHECK(std::get<int>(read(folder, {"--choice=5"})->choice) == 5);
    CHECK(std::get<std::string>(read(folder, {"--choice=five"})->choice) == "five");
    CHECK(std::get<std::string>(read(folder, {"--config={choice: '5'}"})->choice) == "5");
    CHECK(std::get<Model>(read(folder, {"--choice={width: 5}"})->choice).width == 5);
    CHECK(std::get<Model>(read(folder, {"--choice.width=5"})->choice).width == 5);
    CHECK(has(problems_of([&] { read(folder, {"--config={choice: {width: x}}"}); }),
              {"choice.width: got 'x'; expected int"}));
  }

  TEST_CASE("flags and values that begin with a dash") {
    const support::ConfigFolder folder;
    CHECK(read(folder, {"--verbose"})->verbose);
    CHECK(read(folder, {"--verbose", "--epochs", "-4"})->epochs == -4);
    CHECK_FALSE(read(folder, {"--verbose", "false"})->verbose);
    CHECK(read(folder, {"--name=--x"})->name == "--x");
    CHECK(read(folder, {"--name="})->name.empty());
    CHECK(read(folder, {"--name=a=b"})->name == "a=b");
    CHECK(has(problems_of([&] {
                read(folder, {"--name", "--verbose"});
              }),
              {"--name (argument 1): needs a value; expected text", "--name=--value"}));
  }

  TEST_CASE("paths begin where they are written") {
    const support::ConfigFolder folder;
    folder.write("conf/a.yaml", "data: sets/one\n");
    folder.write("conf/section.yaml", "model: parts/model.yaml\n");
    folder.write("conf/parts/model.yaml", "width: 12\n");
    CHECK(read(folder, {"--config=conf/a.yaml"})->data == folder.path("conf/sets/one"));
    CHECK(read(folder, {"--data=sets/one"})->data == folder.path("sets/one"));
    CHECK(read(folder, {}, {{"APP_DATA", "x"}}, {.environment = "APP_"})->data == folder.path("x"));
    CHECK(read(folder, {"--data=/one"})->data == "/one");
    CHECK(read(folder, {"--config=conf/section.yaml"})->model.width == 12);
    CHECK(read(folder, {})->data == "data");  // the program's own stay
  }

  TEST_CASE("a section of a file may be another file but not itself") {
    struct Inner {
      int a = 1;
    };
    struct Outer {
      Inner inner{};
      int b = 2;
    };
    struct Nested {
      std::optional<Outer> outer{};
    };
    const support::ConfigFolder folder;
    folder.write("outer.yaml", "inner: inner.yaml\nb: 5\n");
    folder.write("inner.yaml", "a: 6\n");
    folder.write("self.yaml", "inner: self.yaml\n");
    const auto config = read<Nested>(folder, {"--outer=outer.yaml"});
    CHECK(config->outer->inner.a == 6);
    CHECK(config.origin("outer.inner.a").text() == "inner.yaml:1:4");
    CHECK(has(problems_of([&] { read<Nested>(folder, {"--outer=self.yaml"}); }),
              {"self.yaml:1:8: outer.inner: the file 'self.yaml' is a part of itself"}));
    CHECK(has(problems_of([&] { read<Nested>(folder, {"--outer=missing.yaml"}); }),
              {"--outer (argument 1): the file 'missing.yaml' cannot be read: No such file"}));
    CHECK(has(problems_of([&] { read<Nested>(folder, {"--config=."}); }),
              {"--config (argument 1)", "it is a folder"}));
  }

  TEST_CASE("environment variables have the name of their option") {
    const support::ConfigFolder folder;
    const fabric::config::ParserOptions options{.environment = "APP_"};
    const auto config = read(folder, {},
                             {{"APP_MODEL__WIDTH", "5"},
                              {"APP_MODEL", "{width: 6, layers: [9]}"},
                              {"APP_WIDTH", "7"},
                              {"OTHER_EPOCHS", "8"}},
                             options);
    CHECK(config->model.width == 5);  // parts come after their section
    CHECK(config->model.layers == std::vector<int>{9});
    CHECK(config->epochs == 3);
    REQUIRE(config.notes().size() == 1);
    CHECK(config.notes()[0].starts_with("the variable APP_WIDTH is no option's"));
    CHECK(has(problems_of([&] {
                read(folder, {}, {{"APP_EPOCHS", "x"}}, options);
              }),
              {"APP_EPOCHS: epochs: got 'x'; expected int"}));
  }

  TEST_CASE("what is printed and saved is read again as the same configuration") {
    struct All {
      int number = -1;
      double real = 1e-5;
      float single = 0.1f;
      std::string text = "yes";
      std::string reference = "${number}";
      std::vector<std::string> texts{"a, b", "", "null"};
      std::vector<std::vector<int>> matrix{{1}, {}, {2, 3}};
      std::vector<bool> bits{true, false};
      std::deque<double> deque{1, 2.5};
      std::map<std::string, std::vector<int>> map{{"a b", {1}}, {"c", {}}};
      std::unordered_map<std::string, std::string> unordered{{"k", "1e5"}};
      std::pair<int, int> pair{1, 2};
      std::tuple<std::string, std::string> tuple{"x", "#y"};
      std::optional<std::string> none{};
      std::chrono::milliseconds patience = 1500ms;
      std::chrono::duration<double> exact{0.1};
      Activation activation = Activation::auto_;
      std::vector<Model> models{{.width = 2}, {.layers = {}}};
      std::filesystem::path path = "somewhere/below";
      std::variant<int, std::string> variant = "12";
    };
    const support::ConfigFolder folder;
    const auto first = read<All>(folder, {"--number=5", "--reference=$${x}"});
    folder.write("saved.yaml", first.yaml());
    CAPTURE(first.yaml());
    const auto second = read<All>(folder, {"--config=saved.yaml"});
    CHECK(second.yaml() == first.yaml());
    CHECK(second->reference == "${x}");
    CHECK(second->number == 5);
    CHECK(second->text == "yes");
    CHECK(std::get<std::string>(second->variant) == "12");
    CHECK(second->models[1].layers.empty());
    CHECK(second.resolved().hash() == first.resolved().hash());
    CHECK(read<All>(folder, {}).resolved().hash() != first.resolved().hash());
    folder.write("saved.json", first.resolved().json());
    CHECK(read<All>(folder, {"--config=saved.json", "--reference=$${x}"}).yaml() == first.yaml());
  }

  TEST_CASE("print_config shows what would be used and leaves out what it is told") {
    const support::ConfigFolder folder;
    const auto screen = [&](std::vector<std::string> arguments) -> std::string {
      try {
        read(folder, std::move(arguments));
      } catch (const fabric::config::ScreenRequest& request) {
        return request.screen();
      }
      return "none";
    };
    CHECK(screen({"--print_config=skip_default"}) == "{}\n");
    CHECK(screen({"--print_config=skip_default", "--model.width=5", "--epochs=3"}) ==
          "model:\n  width: 5\n");
    CHECK(screen({"--model.width=5", "--print_config=skip_default,comments"}) ==
          "model:\n  # units of a layer\n  width: 5\n");
    CHECK(has(screen({"--print_config"}), {"optimizer: null\n", "epochs: 3\n"}));
    CHECK_FALSE(has(screen({"--print_config=skip_unset"}), {"optimizer"}));
    CHECK(screen({"--print_config=skip_default", "--optimizer.lr=0.001"}) ==
          "optimizer:\n  lr: 0.001\n  betas: [0.9, 0.999]\n");
    CHECK(has(problems_of([&] { screen({"--print_config=all"}); }),
              {"--print_config (argument 1): unknown flag; got 'all'; expected comments"}));
    CHECK(has(problems_of([&] { screen({"--print_config", "--epochs=x"}); }), {"expected int"}));
    folder.write("again.yaml", screen({"--print_config", "--model.width=5"}));
    CHECK(read(folder, {"--config=again.yaml"})->model.width == 5);
  }

  TEST_CASE("a saved configuration starts the same run and an earlier one stays") {
    const support::ConfigFolder folder;
    const auto config = read(folder, {"--data=sets", "--epochs=9"});
    CHECK(config.save(folder.path("run")) == folder.path("run/config.yaml"));
    CHECK(read(folder, {"--epochs=1"}).save(folder.path("run")) ==
          folder.path("run/config-2.yaml"));
    CHECK(has(folder.read("run/config.yaml"), {"epochs: 9\n", "data: " + folder.path("sets")}));
    const auto again = read(folder, {"--config=run/config.yaml"});
    CHECK(again.yaml() == config.yaml());
    CHECK(again->data == folder.path("sets"));
    CHECK(read(folder, {"--config=run/config-2.yaml"})->epochs == 1);
    folder.write("file", "");
    CHECK_THROWS_AS(config.save(folder.path("file/run")), fabric::MisconfigurationError);
  }

  TEST_CASE("help has all options with type and default") {
    const support::ConfigFolder folder;
    try {
      read(folder, {"--nonsense", "--help"});
      FAIL("no screen");
    } catch (const fabric::config::ScreenRequest& request) {
      CHECK(has(request.screen(),
                {"--model.width", "units of a layer [int; 64]", "[relu, gelu or auto; relu]",
                 "--optimizer.betas", "[list of 2 numbers; [0.9, 0.999]]", "--choice"}));
    }
  }

  TEST_CASE("names of the parser's own cannot be fields") {
    struct Taken {
      std::string config{};
    };
    CHECK_THROWS_WITH_AS(Parser<Taken>(), doctest::Contains("--config is the parser's own"),
                         fabric::MisconfigurationError);
  }
}
