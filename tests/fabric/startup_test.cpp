// Options that a parser has filled, on their way through a start: no second reading of variables,
// one configuration on all ranks, the table.
#include <doctest/doctest.h>

#include <string>

#include <torch/optim/adamw.h>

#include <fabric/config.h>
#include <fabric/config/hyper_parameters.h>
#include <fabric/fabric.h>
#include <fabric/startup.h>
#include <tests/support/config.h>

FABRIC_EXTERNAL_OPTIONS(torch::optim::AdamWOptions, lr, betas, eps, weight_decay, amsgrad)

using fabric::config::Parser;
using support::has;
using support::problems_of;

namespace {

struct Config {
  double lr = 1e-3;
  std::uint64_t seed = 1;
  std::string name = "run";
  std::filesystem::path resume{};
  c10::ScalarType dtype = c10::kFloat;
  c10::Device place{c10::kCPU};
  torch::optim::AdamWOptions optimizer{};
  fabric::FabricOptions fabric{};
};

auto read(std::vector<std::string> arguments,
          std::vector<std::pair<std::string, std::string>> variables = {}) {
  const support::ConfigFolder folder;
  return Parser<Config>().read(folder.inputs(std::move(arguments), std::move(variables)));
}

fabric::Plan plan_for(const fabric::FabricOptions& options,
                      const fabric::Environment& environment = {}) {
  return fabric::resolve(options, environment, fabric::Machine());
}

}  // namespace

TEST_SUITE("fabric.startup") {
  TEST_CASE("variables count once and below arguments") {
    const std::vector<std::pair<std::string, std::string>> variables{{"FABRIC_DEVICES", "1"},
                                                                     {"FABRIC_PRECISION", "bf16"}};
    fabric::Environment environment;
    environment.devices = "1";
    environment.precision = "bf16";
    const auto config = read({"--fabric.devices=4"}, variables);
    CHECK(plan_for(config->fabric, environment).world_size == 4);
    CHECK(plan_for(config->fabric, environment).precision.name() == "bf16-mixed");
    CHECK(config.origin("fabric.precision").text() == "FABRIC_PRECISION");
    // A struct that no parser filled has them from Fabric.
    CHECK(plan_for({.devices = 4}, environment).world_size == 1);
    // The launcher is no option.
    environment.launcher = fabric::Launcher{"mpirun", 3, 0, 0, 3};
    CHECK(plan_for(read({})->fabric, environment).preliminary);
  }

  TEST_CASE("errors of the plan name what the parser found") {
    CHECK_THROWS_WITH_AS(plan_for(read({"--fabric.num_nodes=2"})->fabric),
                         doctest::Contains("got num_nodes=2 from --fabric.num_nodes (argument 1)"),
                         fabric::MisconfigurationError);
    CHECK_THROWS_WITH_AS(plan_for(read({"--fabric.strategy=mine"})->fabric),
                         doctest::Contains("got 'mine' from --fabric.strategy (argument 1)"),
                         fabric::MisconfigurationError);
  }

  TEST_CASE("value types of the toolkit and of LibTorch are options") {
    const auto config = read({"--fabric.strategy=ddp(bucket_mb=50)", "--fabric.devices=0, 1",
                              "--dtype=bfloat16", "--place=cuda:1", "--optimizer.betas=0.8,0.9",
                              "--optimizer.lr=0.1", "--fabric.grad_scaler.init_scale=8"});
    CHECK(config->fabric.strategy.ddp().bucket_mb == 50);
    CHECK(config->fabric.devices.ids().size() == 2);
    CHECK(config->fabric.grad_scaler.init_scale == 8);
    CHECK((config->dtype == c10::kBFloat16));  // doctest has no text for dtypes
    CHECK(config->place == c10::Device(c10::kCUDA, 1));
    CHECK(config->optimizer.betas() == std::tuple(0.8, 0.9));
    CHECK(config->optimizer.weight_decay() == torch::optim::AdamWOptions().weight_decay());
    const support::ConfigFolder folder;
    folder.write("saved.yaml", config.yaml());
    CHECK(Parser<Config>().read(folder.inputs({"--config=saved.yaml"})).yaml() == config.yaml());
    folder.write("list.yaml", "fabric: {devices: [2], precision: 16}\n");
    const auto listed = Parser<Config>().read(folder.inputs({"--config=list.yaml"}));
    CHECK(listed->fabric.devices == fabric::Devices("2,"));
    CHECK(listed->fabric.precision.name() == "16-mixed");
  }

  TEST_CASE("wrong texts of value types say what is expected") {
    CHECK(has(problems_of([] { read({"--fabric.precision=bf32"}); }),
              {"--fabric.precision (argument 1): ", "got 'bf32'", "expected 32-true"}));
    CHECK(has(problems_of([] { read({"--fabric.devices=none"}); }), {"got 'none'"}));
    CHECK(has(problems_of([] { read({"--fabric.unrouted=loud"}); }), {"warn, error or allow"}));
    CHECK(has(problems_of([] { read({"--dtype=float23"}); }),
              {"got 'float23'; expected a dtype", "Did you mean float32?"}));
    CHECK(has(problems_of([] { read({"--place=gpuu"}); }),
              {"got 'gpuu'; expected a device such as cpu, cuda or cuda:1"}));
    CHECK(has(problems_of([] {
                read({}, {{"FABRIC_DEVICES", "0"}});
              }),
              {"FABRIC_DEVICES: fabric.devices: ", "got '0'"}));
  }

  TEST_CASE("the table has the plan and what is not the default") {
    const auto config = read({"--lr=0.5", "--fabric.devices=2", "--name=run"});
    CHECK(fabric::startup_table(plan_for(config->fabric), config.resolved()) ==
          "starting:\n"
          "  processes       2 on 1 node\n"
          "  accelerator     cpu\n"
          "  strategy        ddp\n"
          "  precision       32-true\n"
          "  lr              0.5  --lr (argument 1)\n"
          "  fabric.devices  2    --fabric.devices (argument 2)");
  }

  TEST_CASE("configurations that differ name the first option") {
    using fabric::detail::first_difference;
    using fabric::detail::option_lines;
    const std::string one = option_lines(read({"--lr=0.5", "--name=a"}).resolved());
    const std::string two = option_lines(read({"--lr=0.5", "--name=b"}).resolved());
    CHECK(first_difference(one, one).empty());
    CHECK(first_difference(one, two) == "name is a here and b on rank 0");
    CHECK(has(first_difference("", two), {"different options: '' here, 'lr' on rank 0"}));
    CHECK(option_lines({}).empty());
  }

  TEST_CASE("hyper-parameters go into a checkpoint and come back below arguments") {
    const support::ConfigFolder folder;
    const auto first = read({"--lr=0.25", "--name=${lr}$${x}", "--seed=18446744073709551615",
                             "--optimizer.betas=0.5,0.75", "--fabric.devices=8"});
    const std::string path = folder.path("last.pt");
    fabric::save(path, {{"hyper_parameters", fabric::config::hyper_parameters(first.resolved())},
                        {"step", 3}});
    const fabric::StateValue file = fabric::load(path);
    CHECK(file["hyper_parameters"]["lr"].as<double>() == 0.25);
    CHECK(file["hyper_parameters"]["optimizer"]["betas"][1].as<double>() == 0.75);
    CHECK(file["hyper_parameters"]["name"].as<std::string>() == "0.25${x}");

    const Parser<Config> parser(
        {.checkpoint = "resume", .hyper_parameters = fabric::config::read_hyper_parameters});
    const auto second = parser.read(folder.inputs({"--resume=last.pt", "--lr=0.75"}));
    CHECK(second->lr == 0.75);
    CHECK(second->name == "0.25${x}");
    CHECK(second->seed == 18446744073709551615u);
    CHECK(second->optimizer.betas() == std::tuple(0.5, 0.75));
    CHECK(second->fabric.devices.is_auto());
    CHECK(second.origin("seed").text() == "checkpoint " + path);

    int step = 0;  // loading such a state changes no option
    fabric::load(path, {{"hyper_parameters", fabric::config::hyper_parameters(second.resolved())},
                        {"step", step}});
    CHECK(step == 3);
    CHECK(second->lr == 0.75);
    fabric::save(folder.path("other.pt"), {{"step", 3}});
    CHECK(has(problems_of([&] { parser.read(folder.inputs({"--resume=other.pt"})); }),
              {"--resume (argument 1): ", "has no dictionary 'hyper_parameters'"}));
  }
}
