// What is wrong with a configuration: all of it at once, each with option, place, text and type.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include <fabric/config.h>
#include <fabric/config/run/ending.h>
#include <tests/support/config.h>

using fabric::config::Parser;
using support::has;
using support::problems_of;

namespace {

struct Inner {
  int width = 4;
  int height = 4;
  std::string invalid() const { return width <= height ? "" : "width is above height"; }
};

struct Config {
  fabric::Required<std::filesystem::path> data{};
  fabric::Required<int> classes{};
  double lr = 0.1;
  Inner inner{};
  std::vector<Inner> many{};
  std::string invalid() const { return lr > inner.width ? "lr is above inner.width" : ""; }
};

std::string wrong(const support::ConfigFolder& folder, std::vector<std::string> arguments) {
  return problems_of([&] { Parser<Config>().read(folder.inputs(std::move(arguments))); });
}

}  // namespace

TEST_SUITE("fabric.config.errors") {
  TEST_CASE("all errors come at once in the order of the sources") {
    const support::ConfigFolder folder;
    folder.write("a.yaml", "inner:\n  widht: 3\nlr: fast\n");
    CHECK(wrong(folder, {"--classes=many", "--config=a.yaml", "--inner.heigth", "3", "stray"}) ==
          "a.yaml:2:3: inner.widht: no such option. Did you mean inner.width?\n"
          "a.yaml:3:5: lr: got 'fast'; expected number\n"
          "--classes (argument 1): got 'many'; expected int\n"
          "--inner.heigth (argument 3): no such option. Did you mean --inner.height?\n"
          "stray (argument 5): no option; expected --name=value. Hint: quote a value of several "
          "words, and write a list as '[a, b]'.\n"
          "data: a value is missing; expected path. Hint: --data=…, or the key in a file of "
          "--config.\n");
  }

  TEST_CASE("nothing is missed where a file could not be read, which may have it") {
    const support::ConfigFolder folder;
    CHECK(wrong(folder, {"--config=none.yaml"}) ==
          "--config (argument 1): the file 'none.yaml' cannot be read: No such file or "
          "directory\n");
    folder.write("bad.yaml", "data: x\n classes: 3\n");
    CHECK(has(
        wrong(folder, {"--config=bad.yaml", "--lr=fast"}),
        {"bad.yaml:2:9: not YAML", "the keys of a section begin in the same column", "'fast'"}));
    CHECK(wrong(folder, {"--config=bad.yaml"}).find("missing") == std::string::npos);
  }

  TEST_CASE("what is required is missed all at once and is there when given") {
    const support::ConfigFolder folder;
    CHECK(has(wrong(folder, {}), {"data: a value is missing", "classes: a value is missing"}));
    const auto config = Parser<Config>().read(folder.inputs({"--data=x", "--classes=10"}));
    CHECK(*config->classes == 10);
    CHECK(config->data.value() == folder.path("x"));
    CHECK(Parser<Config>({}, {.data = "/d", .classes = 3}).read(folder.inputs())->classes == 3);
    try {  // can be printed all the same
      Parser<Config>().read(folder.inputs({"--print_config", "--classes=3"}));
      FAIL("no screen");
    } catch (const fabric::config::ScreenRequest& request) {
      CHECK(has(request.screen(), {"classes: 3\n", "# data: needed; path\n"}));
    }
    CHECK(has(wrong(folder, {"--config={classes: null}", "--data=x"}),
              {"classes: got null; expected int"}));
    CHECK_THROWS_WITH_AS(*Config().classes, doctest::Contains("a required option has no value"),
                         fabric::MisconfigurationError);
  }

  TEST_CASE("a struct that is not valid says so at its section") {
    const support::ConfigFolder folder;
    folder.write("a.yaml", "data: x\nclasses: 1\ninner:\n  width: 5\n");
    CHECK(wrong(folder, {"--config=a.yaml"}) == "a.yaml:4:3: inner: width is above height\n");
    CHECK(wrong(folder, {"--config=a.yaml", "--inner.width=1", "--lr=2"}) ==
          "lr is above inner.width\n");
    CHECK(has(
        wrong(folder, {"--config=a.yaml", "--inner.width=1", "--many=[{width: 1}, {width: 9}]"}),
        {"--many (argument 3): many[1]: width is above height"}));
    // The place is that of the last part.
    CHECK(wrong(folder, {"--config=a.yaml", "--inner.height=3"}) ==
          "--inner.height (argument 2): inner: width is above height\n");
    // Not asked where a value is wrong already.
    CHECK(wrong(folder, {"--config=a.yaml", "--inner.height=x"}) ==
          "--inner.height (argument 2): got 'x'; expected int\n");
  }

  TEST_CASE("values of the wrong kind are named") {
    const support::ConfigFolder folder;
    const auto file = [&](const std::string& text) {
      folder.write("a.yaml", "data: x\nclasses: 1\n" + text);
      return wrong(folder, {"--config=a.yaml"});
    };
    CHECK(file("lr: [1]\n") == "a.yaml:3:5: lr: got a list of 1; expected number\n");
    CHECK(has(file("lr: '1'\n"),
              {"a.yaml:3:5: lr: got '1'; expected number. Hint: without quotes."}));
    CHECK(has(file("lr:\n"), {"lr: got null; expected number. Hint: leave the key out"}));
    CHECK(has(file("inner: 3\n"), {"a.yaml:3:8: inner: the file '3' cannot be read"}));
    CHECK(has(file("inner: [1]\n"), {"inner: got a list of 1; expected a section"}));
    CHECK(file("inner:\n").empty());  // a section without options
    CHECK(has(file("many: {a: 1}\n"), {"many: got a section with the key 'a'; expected list"}));
    CHECK(has(file("many: [3]\n"), {"many[0]: got '3'; expected a section with some of width or "
                                    "height"}));
    CHECK(has(file("many: [{depth: 3}]\n"), {"a.yaml:3:9: many[0].depth: no such option"}));
    CHECK(has(file("- 1\n"), {"a.yaml:3:1: not YAML"}));
    CHECK(
        has(wrong(folder, {"--lr.x=1"}), {"--lr.x (argument 1)", "lr is number, and no section"}));
    CHECK(has(wrong(folder, {"--config"}), {"--config (argument 1): needs a value"}));
    CHECK(has(wrong(folder, {"--lr"}), {"--lr (argument 1): needs a value; expected number"}));
    CHECK(has(wrong(folder, {"-l", "--", "---x", "--=3"}),
              {"-l (argument 1): no option", "-- (argument 2)", "---x (argument 3)",
               "--=3 (argument 4)"}));
    CHECK(has(wrong(folder, {"--" + std::string(2000, 'x') + "=1"}),
              {"the name of argument 1 has 2000 bytes"}));
    CHECK(has(wrong(folder, {"--lr=\xff"}), {"not a text; expected UTF-8"}));
    CHECK(has(problems_of([&] {
                Parser<Config>({.environment = "A_"}).read(folder.inputs({}, {{"A_LR", "\xff"}}));
              }),
              {"A_LR: not a text; expected UTF-8"}));
  }

  TEST_CASE("a flood of errors ends") {
    const support::ConfigFolder folder;
    std::string file;
    for (int i = 0; i < 20000; ++i) {
      file += "option" + std::to_string(i) + ": 1\n";
    }
    folder.write("a.yaml", file);
    try {
      Parser<Config>().read(folder.inputs({"--config=a.yaml"}));
      FAIL("no error");
    } catch (const fabric::config::ConfigError& error) {
      CHECK(error.problems().size() == 100);
    }
  }

  TEST_CASE("the screen has the program and a line for each") {
    const fabric::config::ConfigError one({{{}, "lr", "is odd"}});
    CHECK(fabric::config::detail::error_screen("train", one) ==
          "train: an error in the configuration\n  lr: is odd\n--help shows all options.\n");
    const fabric::config::ConfigError two({{{}, "lr", "is odd"}, {{}, "", "also"}});
    CHECK(has(fabric::config::detail::error_screen("train", two), {"train: 2 errors", "  also\n"}));
    CHECK(has(two.what(), {"[fabric.config] the configuration has 2 errors\n  lr: is odd\n"}));
  }
}
