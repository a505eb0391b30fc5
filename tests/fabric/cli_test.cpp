// Commands: which options are whose, what files have, and what is refused.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include <fabric/cli.h>
#include <fabric/config.h>
#include <tests/support/config.h>

using fabric::MisconfigurationError;
using support::has;
using support::problems_of;
using support::refusal_of;

namespace {

struct Net {
  struct Options {
    int width = 64;
    int batch_size = 0;
  };
  explicit Net(const Options&) {}
};
struct Big {
  struct Options {
    int depth = 2;
  };
  explicit Big(const Options&) {}
};
using Model = fabric::OneOf<Net, Big>;

struct FitConfig {
  int epochs = 3;
  int batch_size = 32;
  bool fast = false;
  Model model = "Net";
};
struct TestConfig {
  fabric::Required<std::string> checkpoint{};
  int batches = 10;
};

void fit(fabric::Fabric&, const FitConfig&) {}
int test(fabric::Fabric&, const TestConfig&) {
  return 3;
}

struct Program {
  Program()
      : cli("mnist", {.about = "digits", .environment = "MNIST_", .default_files = {"mnist.yaml"}},
            {.strategy = "ddp"}) {
    cli.command("fit", fit, "trains")
        .link("batch_size", "model.batch_size")
        .link("model", "fabric.strategy",
              [](const Model& model) { return model.is("Big") ? "fsdp" : "ddp"; });
    cli.command("test", test, "measures").defaults({.batches = 5});
  }

  fabric::detail::CommandRun read(std::vector<std::string> arguments,
                                  std::vector<std::pair<std::string, std::string>> variables = {}) {
    return cli.read(folder.inputs(std::move(arguments), std::move(variables)));
  }
  FitConfig fit_config(std::vector<std::string> arguments) {
    const auto run = read(std::move(arguments));
    REQUIRE(run.config<FitConfig>() != nullptr);
    return *run.config<FitConfig>();
  }
  std::string wrong(std::vector<std::string> arguments) {
    return problems_of([&] { read(arguments); });
  }
  std::string screen(std::vector<std::string> arguments) {
    try {
      read(std::move(arguments));
    } catch (const fabric::config::ScreenRequest& request) {
      return request.screen();
    }
    return {};
  }

  support::ConfigFolder folder;
  fabric::Cli cli;
};

}  // namespace

TEST_SUITE("fabric.cli") {
  TEST_CASE("options before the command are the program's and behind it the command's") {
    Program program;
    const auto run = program.read(
        {"--seed=7", "--fabric.devices", "2", "fit", "--epochs=5", "--model.width", "3", "--fast"});
    REQUIRE(run.command->name == "fit");
    CHECK(run.seed() == 7);
    CHECK(run.fabric().devices.to_text() == "2");
    CHECK(run.config<FitConfig>()->epochs == 5);
    CHECK(run.config<FitConfig>()->fast);
    CHECK(run.config<FitConfig>()->model.get_if<Net::Options>()->width == 3);
    CHECK(run.config<TestConfig>() == nullptr);
    CHECK(run.resolved.origin("fit.epochs").text() == "--epochs (argument 5)");
    // What the command has not is the program's.
    CHECK(program.read({"fit", "--fabric.devices=4", "--seed=1"}).fabric().devices.to_text() ==
          "4");
    CHECK(program.read({"fit"}).seed() == std::nullopt);
    CHECK(program.read({"test", "--checkpoint=x"}).config<TestConfig>()->batches == 5);
    // The section before the command works too, as everywhere.
    CHECK(program.fit_config({"--fit.epochs=9", "fit"}).epochs == 9);
    CHECK(has(program.wrong({"--epochs=9", "fit"}),
              {"--epochs (argument 1): no such option. Did you mean --fit.epochs?"}));
  }

  TEST_CASE("a command has to be there and be one") {
    Program program;
    CHECK(has(program.wrong({}), {"a command is missing; expected fit or test"}));
    CHECK(has(program.wrong({"--seed", "1"}), {"a command is missing"}));
    CHECK(has(program.wrong({"fitt"}),
              {"no such command; expected fit or test. Did you mean fit?", "argument 1"}));
    CHECK(has(program.wrong({"fit", "test"}), {"no option", "argument 2"}));
    CHECK(has(program.wrong({"test"}), {"test.checkpoint: a value is missing"}));
    CHECK(has(program.wrong({"fit", "--epohcs=3"}), {"--epohcs (argument 2)", "no such option"}));
  }

  TEST_CASE("files have a section for each command, and those behind a command its options") {
    Program program;
    program.folder.write("whole.yaml",
                         "seed: 4\nfit:\n  epochs: 6\n  model: Big\ntest:\n  batches: none\n");
    program.folder.write("fit.yaml", "epochs: 8\nmodel: {class_path: Net, width: 2}\nseed: 5\n");
    const auto before = program.read({"--config=whole.yaml", "fit"});
    CHECK(before.seed() == 4);
    CHECK(before.config<FitConfig>()->epochs == 6);
    CHECK(before.config<FitConfig>()->model.is("Big"));
    CHECK(program.fit_config({"fit", "--config=whole.yaml"}).epochs == 6);
    const auto behind = program.read({"fit", "-c", "fit.yaml"});
    CHECK(behind.config<FitConfig>()->epochs == 8);
    CHECK(behind.seed() == 5);
    const auto both =
        program.read({"--config=whole.yaml", "fit", "--config=fit.yaml", "--epochs=9"});
    CHECK(both.config<FitConfig>()->epochs == 9);
    CHECK(both.config<FitConfig>()->model.get_if<Net::Options>()->width == 2);
    CHECK(has(program.wrong({"--config=whole.yaml", "test", "--checkpoint=x"}),
              {"whole.yaml:6:12: test.batches: got 'none'; expected int"}));
    CHECK(
        has(program.wrong({"--config=fit.yaml", "fit"}), {"fit.yaml:1:1: epochs: no such option"}));
  }

  TEST_CASE("default files and variables have the sections of all commands") {
    Program program;
    program.folder.write("mnist.yaml", "fit: {epochs: 11}\ntest: {batches: 12, checkpoint: c}\n");
    CHECK(program.fit_config({"fit"}).epochs == 11);
    CHECK(program.read({"test"}).config<TestConfig>()->batches == 12);
    const auto run = program.read(
        {"fit"},
        {{"MNIST_FIT__EPOCHS", "13"}, {"MNIST_TEST__BATCHES", "x"}, {"FABRIC_DEVICES", "3"}});
    CHECK(run.config<FitConfig>()->epochs == 13);
    CHECK(run.fabric().devices.to_text() == "3");
    CHECK(run.notes.empty());
  }

  TEST_CASE("links of a command reach its options and the program's") {
    Program program;
    const auto net = program.read({"fit", "--batch_size=8"});
    CHECK(net.config<FitConfig>()->model.get_if<Net::Options>()->batch_size == 8);
    CHECK(net.fabric().strategy.to_text() == "ddp");
    CHECK(program.read({"fit", "--model=Big"}).fabric().strategy.to_text() == "fsdp");
    CHECK(has(program.wrong({"--fabric.strategy=ddp", "fit"}),
              {"f(fit.model) → fabric.strategy gives it"}));
    CHECK(program.read({"--fabric.strategy=single_device", "test", "--checkpoint=x"})
              .fabric()
              .strategy.to_text() == "single_device");
    CHECK(program.screen({"fit", "--print_links", "--model=Big"}) ==
          "fit.batch_size → fit.model.batch_size: skipped; Big has no option 'batch_size'\n"
          "f(fit.model) → fabric.strategy: fsdp\n");
  }

  TEST_CASE("what is saved starts the same command again") {
    Program program;
    const auto run = program.read({"--seed=3", "fit", "--model=Net", "--model.width=5"});
    program.folder.write("saved.yaml", run.resolved.yaml());
    const auto again = program.read({"--config=saved.yaml", "fit"});
    CHECK(again.resolved.yaml() == run.resolved.yaml());
    CHECK(again.resolved.hash() == run.resolved.hash());
    CHECK(bool(run.fabric().resolved));
  }

  TEST_CASE("help of the program and of a command") {
    Program program;
    const std::string all = program.screen({"--help"});
    CHECK(has(all, {"COMMAND", "fit", "trains", "test", "measures", "--seed", "--fabric.devices"}));
    const std::string one = program.screen({"fit", "--help"});
    CHECK(has(one, {"options of fit:\n", "--epochs", "--model.width", "options of all commands:\n",
                    "--seed", "links, whose targets cannot be given"}));
    CHECK(one.find("--checkpoint") == std::string::npos);
    CHECK(one.find("--fit.") == std::string::npos);
    CHECK(one.find("--fabric.strategy") == std::string::npos);
    CHECK(has(program.screen({"fit", "--model.help=Big"}), {"--model=Big\n", "  --model.depth"}));
    CHECK(program.screen({"fit", "--model.help=Net"}).find("batch_size") == std::string::npos);
    CHECK(has(program.screen({"test", "--print_config"}), {"test:\n", "batches: 5"}));
  }

  TEST_CASE("commands that cannot be are refused") {
    struct WithFabric {
      fabric::FabricOptions fabric{};
    };
    struct WithConfig {
      int config = 1;
    };
    fabric::Cli cli("x");
    cli.command("fit", fit);
    CHECK(has(refusal_of([&] { cli.command("fit", fit); }), {"two commands 'fit'"}));
    CHECK(has(refusal_of([&] { cli.command("seed", fit); }),
              {"'seed' is an option of all commands"}));
    CHECK(has(refusal_of([&] { cli.command("Fit it", fit); }), {"got 'Fit it'"}));
    CHECK(has(refusal_of([&] { cli.command("a", [](fabric::Fabric&, const WithFabric&) {}); }),
              {"has the options of Fabric"}));
    CHECK(has(refusal_of([&] { cli.command("b", [](fabric::Fabric&, const WithConfig&) {}); }),
              {"--config is the parser's own"}));
  }
}
