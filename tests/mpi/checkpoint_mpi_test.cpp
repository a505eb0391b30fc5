// One file for every strategy: what one saves all others load, to the bit, and a run goes on from
// it.
#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <vector>

#include <torch/torch.h>

#include <fabric/checkpoint/io/file.h>
#include <fabric/fabric.h>

#include <tests/support/sharding.h>
#include <tests/support/shared_folder.h>
#include <tests/support/state_trees.h>

namespace {

using fabric::CheckpointError;
using fabric::State;
using fabric::StateValue;
using support::distance;
using support::double_net;
using support::kExact;
using support::MLP;
using support::own;
using support::rows;
using torch::Tensor;
using Groups = std::vector<torch::optim::OptimizerParamGroup>;

std::vector<fabric::StrategyChoice> strategies() {
  const int world = fabric::world().size;
  std::vector<fabric::StrategyChoice> list = {
      "ddp",
      fabric::FSDPOptions{},
      support::kLinearUnits,
      fabric::FSDPOptions{.sharding = "grad_op", .units = {"Linear"}},
      fabric::FSDPOptions{.sharding = "none"},
      fabric::FSDPOptions{.replicas = world % 2 == 0 ? 2 : 1, .units = {"Linear"}},
      fabric::FSDPOptions{.units = {"Linear"}, .cpu_offload = true}};
  if (world == 1) {
    list.push_back("single_device");
  }
  return list;
}

// Two groups, in another order than the model's, without the last bias.
Groups groups_of(MLP& net) {
  Groups groups;
  groups.emplace_back(std::vector<Tensor>{net->third->weight, net->first->bias},
                      std::make_unique<torch::optim::AdamWOptions>(0.01));
  groups.emplace_back(
      std::vector<Tensor>{net->second->bias, net->second->weight, net->first->weight},
      std::make_unique<torch::optim::AdamWOptions>(
          torch::optim::AdamWOptions(0.02).betas({0.8, 0.9}).amsgrad(true)));
  return groups;
}

template <class Optimizer>
struct Run {
  explicit Run(fabric::StrategyChoice strategy, int64_t seed = 1)
      : fabric({.strategy = strategy}), net(double_net<MLP>(seed)) {
    fabric.launch();
    model = fabric.setup(net);
    optimizer = fabric.setup_optimizers(Optimizer(groups_of(net), {}));
    ema = fabric::EMA(model, {.decay = 0.5});
  }
  State state() { return {{"model", model}, {"optimizer", optimizer}, {"ema", ema}}; }
  // Some parameters have their first gradient later than others, so that counts of steps differ.
  void steps(int from, int to) {
    for (int i = from; i < to; ++i) {
      optimizer.zero_grad();
      net->second->weight.requires_grad_(i > 0);
      fabric.backward(model->forward(own(rows({6}, i))).square().mean());
      net->second->weight.requires_grad_(true);
      optimizer.step();
      ema.update();
    }
  }
  std::vector<Tensor> weights() {
    auto whole = fabric.full_parameters(model);
    std::vector<Tensor> copies;
    for (const Tensor& parameter : net->parameters()) {
      copies.push_back(parameter.detach().clone());
    }
    return copies;
  }

  fabric::Fabric fabric;
  MLP net;
  fabric::FabricModule<support::MLPImpl> model;
  fabric::FabricOptimizer optimizer;
  fabric::EMA ema;
};

// Without what a file says of the run that saved it.
StateValue state_in(const std::filesystem::path& path) {
  fabric::StateDict state = fabric::load(path).dict();
  state.erase("fabric");
  return state;
}

template <class First, class Second>
void every_strategy_to_every_other() {
  const SharedFolder folder;
  for (std::size_t a = 0; a < strategies().size(); ++a) {
    CAPTURE(a);
    Run<First> first(strategies()[a]);
    first.steps(0, 3);
    first.fabric.save(folder / "a.pt", first.state());
    const StateValue saved = state_in(folder / "a.pt");
    first.steps(3, 5);
    const std::vector<Tensor> expected = first.weights();
    for (std::size_t b = 0; b < strategies().size(); ++b) {
      CAPTURE(b);
      Run<Second> second(strategies()[b], /*seed=*/9);
      if (b % 2 == 1) {
        second.steps(0, 1);  // what it has is replaced
      }
      CHECK(second.fabric.load(folder / "a.pt", second.state()).dict().empty());
      second.fabric.save(folder / "b.pt", second.state());
      if constexpr (std::is_same_v<First, Second>) {
        CHECK(difference(saved, state_in(folder / "b.pt")) == "");
      }
      second.steps(3, 5);
      CHECK(distance(second.weights(), expected) < kExact);
    }
  }
}

}  // namespace

TEST_SUITE("mpi.checkpoint") {
  TEST_CASE("LibTorch's optimizer, every strategy to every other") {
    every_strategy_to_every_other<torch::optim::AdamW, torch::optim::AdamW>();
  }

  TEST_CASE("fused optimizers, and from one class to its twin") {
    every_strategy_to_every_other<torch::optim::AdamW, fabric::FusedAdamW>();
  }

  TEST_CASE("the file is as from one process, whoever saved it") {
    const SharedFolder folder;
    Run<torch::optim::AdamW> sharded(support::kLinearUnits);
    sharded.steps(0, 3);
    sharded.fabric.save(folder / "a.pt", sharded.state());
    sharded.fabric.save(folder / "a.safetensors", sharded.state());
    CHECK(difference(fabric::load(folder / "a.pt"), fabric::load(folder / "a.safetensors")) == "");
    // One process alone, without a strategy.
    MLP net = double_net<MLP>(4);
    torch::optim::AdamW optimizer(groups_of(net), {});
    fabric::load(folder / "a.pt", {{"model", net}, {"optimizer", optimizer}});
    CHECK(distance(net->parameters(), sharded.weights()) == 0);
    const StateValue file = fabric::load(folder / "a.pt");
    const std::vector<int> numbers = {0, 1};
    CHECK(file["optimizer"]["param_groups"][0]["params"].as<std::vector<int>>() == numbers);
    CHECK(file["optimizer"]["param_groups"][1]["betas"][0].as<double>() == 0.8);
    const auto step_of = [&](int parameter) {
      return (*file["optimizer"]["state"].dict().find(parameter))["step"].tensor().item<double>();
    };
    CHECK(step_of(3) == 2);
    CHECK(step_of(0) == 3);
    CHECK((file["model"]["first.weight"].stored().dtype() == torch::kDouble));
  }

  TEST_CASE("the user's own net and optimizer are found behind their handles") {
    const SharedFolder folder;
    fabric::Fabric fabric({.strategy = support::kLinearUnits});
    fabric.launch();
    MLP net = double_net<MLP>();
    torch::optim::SGD sgd(net->parameters(), torch::optim::SGDOptions(0.1).momentum(0.9));
    auto model = fabric.setup(net);
    auto optimizer = fabric.setup_optimizers(sgd);
    fabric.backward(model->forward(own(rows({6}))).square().mean());
    optimizer.step();
    fabric.save(folder / "handles.pt", {{"model", model}, {"optimizer", optimizer}});
    fabric.save(folder / "own.pt", {{"model", net}, {"optimizer", sgd}});
    CHECK(difference(fabric::load(folder / "handles.pt"), fabric::load(folder / "own.pt")) == "");
    fabric.load(folder / "own.pt", {{"model", net}, {"optimizer", sgd}});
  }

  TEST_CASE("while parameters are held whole they are saved and loaded as they are then") {
    const SharedFolder folder;
    Run<torch::optim::AdamW> run(support::kLinearUnits);
    {
      auto whole = run.fabric.full_parameters(run.model);
      const torch::NoGradGuard no_grad;
      run.net->first->bias.fill_(3);
      run.fabric.save(folder / "a.pt", run.model);
    }
    Run<torch::optim::AdamW> other(support::kLinearUnits, 5);
    {
      auto whole = other.fabric.full_parameters(other.model);
      other.fabric.load(folder / "a.pt", other.model);
      CHECK(other.net->first->bias.eq(3).all().item<bool>());
    }
    CHECK(distance(other.weights(), run.weights()) == 0);
    auto whole = run.fabric.full_parameters(run.model);
    CHECK_THROWS_AS(run.fabric.save(folder / "b.pt", {{"ema", run.ema}}), fabric::Error);
  }

  TEST_CASE("shards of higher precision than what is gathered are saved as they are") {
    const SharedFolder folder;
    fabric::Fabric fabric(
        {.strategy = fabric::FSDPOptions{.units = {"Linear"}, .param_dtype = "bfloat16"}});
    fabric.launch();
    MLP net = support::with_seed(1, [] { return MLP(); });
    const Tensor weight = net->first->weight.detach().clone();
    auto model = fabric.setup(net);
    fabric.save(folder / "a.pt", model);
    const StateValue file = fabric::load(folder / "a.pt");
    CHECK((file["first.weight"].stored().dtype() == torch::kFloat));
    CHECK(file["first.weight"].tensor().equal(weight));
    MLP other = support::with_seed(2, [] { return MLP(); });
    auto second = fabric.setup(other);
    fabric.load(folder / "a.pt", second);
    auto whole = fabric.full_parameters(second);
    CHECK(other->first->weight.equal(weight));
  }

  TEST_CASE("a rank reads the bytes of its part") {
    const SharedFolder folder;
    const int world = fabric::world().size;
    struct WideImpl : torch::nn::Module {
      WideImpl() : a(register_module("a", torch::nn::Linear(1024, 4096))) {}
      Tensor forward(Tensor x) { return a(x); }
      torch::nn::Linear a;
    };
    fabric::Fabric fabric({.strategy = fabric::FSDPOptions{.units = {"Linear"}}});
    fabric.launch();
    auto net = std::make_shared<WideImpl>();
    auto model = fabric.setup(net);
    for (const char* name : {"a.pt", "a.safetensors"}) {
      fabric.save(folder / name, model);
      fabric.barrier();
      const auto before = fabric::detail::InputFile::bytes_read();
      fabric.load(folder / name, model);
      const auto read = fabric::detail::InputFile::bytes_read() - before;
      const std::int64_t whole = 4 * (1024 * 4096 + 4096);
      // Checksums cover a MiB: the first and the last of a part are read whole.
      CHECK(read >= whole / world);
      CHECK(read <= whole / world + (world > 1 ? 2 << 20 : 0) + (1 << 16));
    }
  }

  TEST_CASE("what one rank cannot do no rank does") {
    const SharedFolder folder;
    Run<torch::optim::AdamW> run(support::kLinearUnits);
    run.fabric.save(folder / "a.pt", run.state());
    const bool last = fabric::world().rank == fabric::world().size - 1;
    const std::vector<Tensor> before = run.weights();
    CHECK_THROWS_WITH_AS(
        run.fabric.load(last ? folder / "missing.pt" : folder / "a.pt", run.state()),
        doctest::Contains("missing.pt cannot be opened"), CheckpointError);
    CHECK(distance(run.weights(), before) == 0);
    // Rank 0 writes; the others hear of it.
    CHECK_THROWS_WITH_AS(run.fabric.save(folder / "no" / "a.pt", run.state()),
                         doctest::Contains("does its folder exist"), CheckpointError);
    if (fabric::world().size > 1) {
      int number = 1;
      const State mine = last ? State{{"n", number}} : run.state();
      CHECK_THROWS_WITH_AS(run.fabric.save(folder / "b.pt", mine),
                           doctest::Contains("ranks differ in the tensors"), CheckpointError);
    }
    run.fabric.save(folder / "a.pt", run.state());
    run.steps(0, 1);
  }

  TEST_CASE("each rank goes on with its own random numbers") {
    const SharedFolder folder;
    fabric::Fabric fabric;
    fabric.launch();
    fabric.seed_everything(3, {.per_rank = true});
    torch::rand({7});
    fabric.save(folder / "a.pt", {{"random", fabric.random_state()}});
    const Tensor expected = torch::rand({4});
    torch::manual_seed(1);
    fabric.load(folder / "a.pt", {{"random", fabric.random_state()}});
    CHECK(torch::rand({4}).equal(expected));
    // Fewer were saved: the others draw numbers of their own.
    if (fabric::world().size > 1) {
      fabric::StateDict file = fabric::load(folder / "a.pt").dict();
      fabric::StateList one{file["random"]["cpu"][0]};
      fabric.save(folder / "b.pt", {{"random", fabric::StateDict{{"cpu", one}}}});
      fabric.load(folder / "b.pt", {{"random", fabric.random_state()}});
      const Tensor all = fabric.all_gather(torch::rand({4}));
      CHECK(!all[0].equal(all[1]));
    }
  }

  TEST_CASE("models that are cut over ranks are not for the free function") {
    if (fabric::world().size == 1) {
      return;
    }
    const SharedFolder folder;
    Run<torch::optim::AdamW> run(support::kLinearUnits);
    CHECK_THROWS_WITH_AS(fabric::save(folder / "a.pt", run.model), doctest::Contains("fabric.save"),
                         fabric::MisconfigurationError);
  }
}
