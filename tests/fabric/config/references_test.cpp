// ${option} and ${env:X}: followed last, with the type of what they refer to.
#include <doctest/doctest.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include <fabric/config.h>
#include <tests/support/config.h>

using fabric::config::Parser;
using support::has;
using support::problems_of;

namespace {

struct Model {
  int width = 64;
  int depth = 2;
};

struct Config {
  int n = 1;
  double lr = 0.5;
  std::string name = "run";
  std::string other{};
  std::vector<int> list{1, 2};
  std::vector<int> copy{};
  std::map<std::string, std::string> map{};
  Model model{};
  std::optional<Model> teacher{};
  std::filesystem::path folder = "/base";
  std::filesystem::path data{};
  fabric::Required<int> needed{3};
};

auto read(std::vector<std::string> arguments, const std::string& file = "n: 1") {
  const support::ConfigFolder folder;
  folder.write("a.yaml", file);
  arguments.insert(arguments.begin(), "--config=a.yaml");
  return Parser<Config>().read(
      folder.inputs(std::move(arguments), {{"USER", "me"}, {"SEVEN", "7"}, {"EMPTY", ""}}));
}

std::string wrong(std::vector<std::string> arguments, const std::string& file = "n: 1") {
  return problems_of([&] { read(std::move(arguments), file); });
}

}  // namespace

TEST_SUITE("fabric.config.references") {
  TEST_CASE("a reference is followed after all sources whatever their order") {
    CHECK(read({"--n=5", "--name=${n}"})->name == "5");
    CHECK(read({"--name=${n}", "--n=5"})->name == "5");
    CHECK(read({"--n=5"}, "name: run-${n}-${model.width}")->name == "run-5-64");
    CHECK(read({"--model.width=${n}"})->model.width == 1);
    CHECK(read({"--lr=${n}"})->lr == 1.0);
    CHECK(read({}, "copy: ${list}")->copy == std::vector<int>{1, 2});
    CHECK(read({}, "list: [3, '${n}']\ncopy: ${list}")->copy == std::vector<int>{3, 1});
    CHECK(read({}, "map: {a: '${name}', b: \"${n}${n}\"}")->map ==
          std::map<std::string, std::string>{{"a", "run"}, {"b", "11"}});
    CHECK(read({"--name=${other}", "--other=${lr}"})->name == "0.5");  // a chain
  }

  TEST_CASE("sections are taken whole") {
    const auto config = read({"--model.width=8"}, "teacher: ${model}");
    REQUIRE(config->teacher.has_value());
    CHECK(config->teacher->width == 8);
    CHECK(config->teacher->depth == 2);
    CHECK(has(wrong({"--teacher.width=3"}, "teacher: ${model}"),
              {"a part of what refers to something cannot be given; got '${model}' before"}));
  }

  TEST_CASE("variables and paths") {
    CHECK(read({"--name=${env:USER}-x"})->name == "me-x");
    CHECK(read({"--n=${env:SEVEN}"})->n == 7);
    CHECK(read({"--data=${folder}/sets"})->data == "/base/sets");
    CHECK(
        has(wrong({"--name=${env:NONE}"}), {"--name (argument 2): refers to the variable 'NONE'"}));
    CHECK(has(wrong({"--name=${env:EMPTY}"}), {"'EMPTY', which is not set"}));
  }

  TEST_CASE("two dollars stand for one") {
    CHECK(read({"--name=$${n}"})->name == "${n}");
    CHECK(read({"--name=a$${n}${n}"})->name == "a${n}1");
    CHECK(read({"--name=$n {n} $"})->name == "$n {n} $");
    // What the program says is no reference, also where a source adds to it.
    const support::ConfigFolder folder;
    const auto config =
        Parser<Config>({}, {.map = {{"a", "${n}"}}}).read(folder.inputs({"--map.b=${n}"}));
    CHECK(config->map == std::map<std::string, std::string>{{"a", "${n}"}, {"b", "1"}});
    CHECK(Parser<Config>({}, {.name = "${n}"}).read(std::vector<std::string>{})->name == "${n}");
  }

  TEST_CASE("what leads nowhere or in circles is an error with its place") {
    CHECK(has(wrong({"--name=${name}"}), {"--name (argument 2): refers to itself: name → name"}));
    CHECK(has(wrong({"--name=${other}", "--other=x${name}"}),
              {"refers to itself: name → other → name"}));
    CHECK(has(wrong({}, "name: ${modle.width}"),
              {"a.yaml:1:7: name: refers to 'modle.width', which is no option. Did you mean "
               "model.width?"}));
    CHECK(has(wrong({"--name=${n"}), {"a reference has no end; got '${n'"}));
    CHECK(has(wrong({"--name=x${list}"}), {"stands for a text; got a list of 2 for ${list}"}));
    CHECK(has(wrong({"--name=${}"}), {"refers to '', which is no option"}));
    CHECK(has(wrong({"--n=${name}"}), {"--n (argument 2): got 'run'; expected int"}));
    CHECK(has(wrong({}, "copy: [${n}]"), {"a reference needs quotes"}));
    CHECK(has(wrong({"--n=${model}"}), {"expected int"}));
  }

  TEST_CASE("references cannot make a small text large") {
    std::string file = "map:\n  a0: '" + std::string(1000, 'x') + "'\n";
    for (int i = 1; i < 20; ++i) {
      file += "  a" + std::to_string(i) + ": '";
      for (int j = 0; j < 4; ++j) {
        file += "${map.a" + std::to_string(i - 1) + "}";
      }
      file += "'\n";
    }
    CHECK(has(wrong({}, file), {"references stand for more than 4 MiB together"}));
    file = "map:\n  a0: x\n";
    for (int i = 1; i < 200; ++i) {
      file += "  a" + std::to_string(i) + ": '${map.a" + std::to_string(i - 1) + "}'\n";
    }
    CHECK(has(wrong({}, file), {"refers through more than 50 others"}));
  }
}
