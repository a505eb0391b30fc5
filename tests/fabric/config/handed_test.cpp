// Configurations on their way: to started processes, and back from checkpoints.
#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include <fabric/config.h>
#include <fabric/config/run/hand_over.h>
#include <fabric/config/run/resolved_tree.h>
#include <fabric/config/sources/handed.h>
#include <tests/support/config.h>

using fabric::config::Parser;
using support::has;
using support::problems_of;

namespace {

struct Start {
  int devices = 1;
  static constexpr const char* kVariables = "START_";
};

struct Config {
  std::string name = "run";
  std::vector<int> layers{1, 2};
  std::filesystem::path data{};
  std::string resume{};
  Start start{};
};

struct Other {
  int number = 1;
};

}  // namespace

TEST_SUITE("fabric.config.handed") {
  TEST_CASE("a started process has the values and places of the one that started it") {
    const support::ConfigFolder folder;
    folder.write("a.yaml", "name: \"${env:WHO}-${layers}\"\ndata: sets\n");
    folder.write("b.yaml", "name: \"it's ${env:WHO}\"\ndata: sets\n");
    const Parser<Config> parser;
    const auto first =
        parser.read(folder.inputs({"--config=b.yaml", "--layers+=3"}, {{"WHO", "me…\n"}}));
    const auto& tree = *first.resolved().tree();
    const auto variables = fabric::config::detail::variables_to_hand(*tree.type, tree.given);
    folder.write("b.yaml", "name: changed\n");
    const auto second = parser.read(folder.inputs({"--config=/dev/fd/63"}, variables));
    CHECK(second.yaml() == first.yaml());
    CHECK(second->name == "it's me…\n");
    CHECK(second->layers == std::vector<int>{1, 2, 3});
    CHECK(second.resolved().hash() == first.resolved().hash());
    CHECK(second.origin("name").text() == "b.yaml:1:7");
    CHECK(second.origin("layers").text() == "--layers (argument 2)");
    // Another parser of the same process reads its own sources.
    CHECK(Parser<Other>().read(folder.inputs({"--number=4"}, variables))->number == 4);
  }

  TEST_CASE("a large configuration comes in pieces and a huge one is refused") {
    const support::ConfigFolder folder;
    const Parser<Config> parser;
    const auto first = parser.read(folder.inputs({"--name=" + std::string(250'000, 'x')}));
    const auto& tree = *first.resolved().tree();
    auto variables = fabric::config::detail::variables_to_hand(*tree.type, tree.given);
    CHECK(variables.size() == 3);
    CHECK(parser.read(folder.inputs({}, variables))->name.size() == 250'000);
    variables.pop_back();
    CHECK_THROWS_WITH_AS(parser.read(folder.inputs({}, variables)),
                         doctest::Contains("are damaged"), fabric::MisconfigurationError);
    const auto huge = parser.read(folder.inputs({"--name=" + std::string(2'000'000, 'x')}));
    CHECK_THROWS_WITH_AS(fabric::config::detail::hand_over(huge.resolved()),
                         doctest::Contains("start it with mpirun"), fabric::MisconfigurationError);
  }

  TEST_CASE("variables are set and taken away") {
    const support::ConfigFolder folder;
    const auto first = Parser<Config>().read(folder.inputs({"--name=x"}));
    fabric::config::detail::hand_over(first.resolved());
    CHECK(Parser<Config>().read(std::vector<std::string>{"--name=y"})->name == "x");
    fabric::config::detail::forget_handed();
    CHECK(Parser<Config>().read(std::vector<std::string>{"--name=y"})->name == "y");
    fabric::config::detail::hand_over({});
    CHECK(std::getenv("FABRIC_HANDED_CONFIG_0") == nullptr);
  }

  TEST_CASE("hyper-parameters of a checkpoint rank above default files and below variables") {
    const support::ConfigFolder folder;
    folder.write("default.yaml", "name: default\nlayers: [7]\n");
    int asked = 0;
    const Parser<Config> parser(
        {.environment = "APP_",
         .default_files = {"default.yaml"},
         .checkpoint = "resume",
         .hyper_parameters = [&](const std::filesystem::path& path) -> std::string {
           ++asked;
           if (path != "last.pt") {
             throw std::runtime_error("no such checkpoint");
           }
           return "{\"name\": \"saved\", \"layers\": [8], \"gone\": 1, \"start\": {\"devices\": "
                  "8}}";
         }});
    CHECK(parser.read(folder.inputs())->name == "default");
    CHECK(asked == 0);
    const auto config = parser.read(folder.inputs({"--resume=last.pt"}));
    CHECK(config->name == "saved");
    CHECK(config->layers == std::vector<int>{8});
    CHECK(config.origin("name").text() == "checkpoint last.pt");
    CHECK(config->start.devices == 1);  // where a run is started is its own affair
    REQUIRE(config.notes().size() == 1);
    CHECK(has(config.notes()[0], {"options that this program has not: gone"}));
    CHECK(parser.read(folder.inputs({"--resume=last.pt"}, {{"APP_NAME", "v"}}))->name == "v");
    CHECK(parser.read(folder.inputs({"--name=argument", "--resume=last.pt"}))->name == "argument");
    CHECK(has(problems_of([&] { parser.read(folder.inputs({"--resume=lost.pt"})); }),
              {"--resume (argument 1): ", "cannot be read: no such checkpoint"}));
  }
}
