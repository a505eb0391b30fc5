// Averages of weights: the formula's numbers under every strategy, swapping, and what is refused.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <stdexcept>

#include <torch/torch.h>

#include <fabric/ema.h>
#include <tests/support/sharding.h>

namespace {

using support::distance;
using support::double_net;
using support::kExact;
using support::MLP;
using support::own;
using support::rows;
using torch::Tensor;

std::vector<fabric::StrategyChoice> strategies() {
  const int world = fabric::world().size;
  std::vector<fabric::StrategyChoice> list = {
      "ddp", support::kLinearUnits, fabric::FSDPOptions{.sharding = "none"},
      fabric::FSDPOptions{.replicas = world % 2 == 0 ? 2 : 1},
      fabric::FSDPOptions{.units = {"Linear"}, .param_dtype = "float32"}};
  if (world == 1) {
    list.push_back("single_device");
  }
  return list;
}

struct Training {
  explicit Training(fabric::StrategyChoice strategy, MLP module = double_net<MLP>())
      : fabric({.strategy = strategy}), net(std::move(module)) {
    fabric.launch();
    model = fabric.setup(net);
    optimizer = fabric.setup_optimizers(torch::optim::Adam(net->parameters(), 0.05));
  }
  void step() {
    optimizer.zero_grad();
    fabric.backward(model->forward(own(x)).square().mean());
    optimizer.step();
  }
  /// The model's weights in full precision, the same on all ranks.
  std::vector<Tensor> weights() {
    const torch::NoGradGuard no_grad;
    auto whole = fabric.full_parameters(model);
    std::vector<Tensor> copies;
    for (const Tensor& parameter : net->parameters()) {
      copies.push_back(parameter.clone());
    }
    return copies;
  }

  fabric::Fabric fabric;
  MLP net;
  Tensor x = rows({6});
  fabric::FabricModule<support::MLPImpl> model;
  fabric::FabricOptimizer optimizer;
};

std::vector<Tensor> averages_of(fabric::EMA& ema) {
  MLP other = double_net<MLP>(99);
  ema.copy_to(other);
  return other->parameters();
}

bool equal(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(),
                    [](const Tensor& left, const Tensor& right) { return left.equal(right); });
}

}  // namespace

TEST_SUITE("mpi.ema") {
  TEST_CASE("the average is the formula's, with warm-up and without, at every strategy") {
    for (const fabric::StrategyChoice& strategy : strategies()) {
      for (const bool warmup : {false, true}) {
        Training training(strategy);
        fabric::EMA ema(training.model, {.decay = 0.9, .warmup = warmup});
        std::vector<Tensor> expected = training.weights();
        for (int n = 1; n <= 6; ++n) {
          training.step();
          ema.update();
          const std::vector<Tensor> weights = training.weights();
          const double decay = warmup ? std::min(0.9, (1.0 + n) / (10.0 + n)) : 0.9;
          for (std::size_t i = 0; i < expected.size(); ++i) {
            expected[i] = decay * expected[i] + (1 - decay) * weights[i];
          }
        }
        CHECK(ema.updates() == 6);
        CHECK(distance(averages_of(ema), expected) < kExact);
        CHECK(distance(training.weights(), expected) > 1e-3);
      }
    }
  }

  TEST_CASE("an update sends and gathers nothing under fsdp, and keeps what a shard takes") {
    Training training(support::kLinearUnits);
    training.step();
    const fabric::ShardedModel& engine = *fabric::sharded_model_of(training.model.managed());
    fabric::EMA ema(training.model);
    const auto gathers = engine.events().gathers;
    for (int i = 0; i < 3; ++i) {
      ema.update();
    }
    CHECK(engine.events().gathers == gathers);
  }

  TEST_CASE("swapped weights compute, and the model's own come back bit by bit") {
    for (const fabric::StrategyChoice& strategy : strategies()) {
      Training training(strategy);
      fabric::EMA ema(training.model, {.decay = 0.5});
      training.step();
      ema.update();
      const std::vector<Tensor> before = training.weights();
      const Tensor plain = training.model->forward(training.x).detach();
      {
        auto averaged = ema.swapped();
        CHECK_FALSE(equal(training.weights(), before));
        MLP other = double_net<MLP>(5);
        const std::vector<Tensor> now = training.weights();
        for (std::size_t i = 0; i < now.size(); ++i) {
          const torch::NoGradGuard no_grad;
          other->parameters()[i].copy_(now[i]);
        }
        CHECK((training.model->forward(training.x) - other->forward(training.x))
                  .abs()
                  .max()
                  .item<double>() < 1e-6);  // fp32 where gathered so
        CHECK((training.model->forward(training.x) - plain).abs().max().item<double>() > 1e-6);
        CHECK_THROWS_AS(ema.update(), fabric::RoutingError);
        CHECK_THROWS_AS(ema.swapped(), fabric::RoutingError);
      }
      CHECK(equal(training.weights(), before));
      CHECK(training.model->forward(training.x).equal(plain));
      try {
        auto averaged = ema.swapped();
        const torch::NoGradGuard no_grad;
        training.net->parameters()[0].zero_();  // lost
        throw std::runtime_error("evaluation failed");
      } catch (const std::runtime_error&) {
      }
      CHECK(equal(training.weights(), before));
      // Training goes on as if nothing had been.
      Training alike(strategy);
      alike.step();
      training.step();
      alike.step();
      CHECK(equal(training.weights(), alike.weights()));
    }
  }

  TEST_CASE("backward through a forward from before the swap throws") {
    for (const fabric::StrategyChoice& strategy : strategies()) {
      Training training(strategy);
      fabric::EMA ema(training.model, {.decay = 0.5});
      training.step();
      ema.update();
      const Tensor loss = training.model->forward(own(training.x)).square().mean();
      { auto averaged = ema.swapped(); }
      CHECK_THROWS(training.fabric.backward(loss));
    }
  }

  TEST_CASE("frozen parameters stay exactly what they are; every skips updates") {
    for (const fabric::StrategyChoice& strategy : strategies()) {
      MLP net = double_net<MLP>();
      net->first->weight.requires_grad_(false);
      const Tensor frozen = net->first->weight.detach().clone();
      Training training(strategy, net);
      fabric::EMA ema(training.model, {.decay = 0.7, .every = 2});
      for (int i = 0; i < 5; ++i) {
        training.step();
        ema.update();
      }
      CHECK(ema.updates() == 2);
      CHECK(averages_of(ema)[0].equal(frozen));
    }
  }

  TEST_CASE("an average is saved and loaded, and carried to another strategy") {
    for (const fabric::StrategyChoice& strategy : strategies()) {
      Training training(strategy);
      fabric::EMA ema(training.model, {.decay = 0.8});
      for (int i = 0; i < 3; ++i) {
        training.step();
        ema.update();
      }
      std::stringstream saved;
      torch::save(ema, saved);
      Training again(strategy);
      fabric::EMA loaded(again.model, {.decay = 0.8});
      torch::load(loaded, saved);
      CHECK(loaded.updates() == 3);
      CHECK(equal(averages_of(loaded), averages_of(ema)));

      MLP carrier = double_net<MLP>(3);
      ema.copy_to(carrier);
      Training elsewhere("ddp");
      const std::vector<Tensor> before = elsewhere.weights();
      fabric::EMA other(elsewhere.model);
      other.copy_from(carrier);
      CHECK(equal(averages_of(other), averages_of(ema)));
      CHECK(equal(elsewhere.weights(), before));
      fabric::EMA back(again.model);
      back.copy_from(carrier);
      CHECK(equal(averages_of(back), averages_of(ema)));
    }
  }

  TEST_CASE("a model that was built without memory is averaged as another") {
    for (const fabric::StrategyChoice& strategy :
         {fabric::StrategyChoice("ddp"), fabric::StrategyChoice(support::kLinearUnits)}) {
      torch::manual_seed(4);
      fabric::Fabric fabric({.strategy = strategy});
      fabric.launch();
      MLP net = fabric.init_module([] { return MLP(); }, {.empty_init = true});
      auto model = fabric.setup(net);
      fabric::EMA ema(model, {.decay = 0.5});
      std::vector<Tensor> expected;
      {
        const torch::NoGradGuard no_grad;
        auto whole = fabric.full_parameters(model);
        for (const Tensor& parameter : net->parameters()) {
          expected.push_back(parameter + 1);
          parameter.add_(2);
        }
      }
      ema.update();
      MLP other;
      ema.copy_to(other);
      CHECK(distance(other->parameters(), expected) < 1e-6);
    }
  }

  TEST_CASE("what cannot be averaged says so") {
    CHECK_THROWS_AS(fabric::EMA(fabric::FabricModule<support::MLPImpl>()),
                    fabric::NotLaunchedError);
    CHECK_THROWS_AS(fabric::EMA().update(), fabric::NotLaunchedError);
    Training training(support::kLinearUnits);
    CHECK_THROWS_AS(fabric::EMA(training.model, {.decay = 1}), fabric::MisconfigurationError);
    CHECK_THROWS_AS(fabric::EMA(training.model, {.every = 0}), fabric::MisconfigurationError);
    fabric::EMA ema(training.model);
    {
      auto whole = training.fabric.full_parameters(training.model);
      CHECK_THROWS_WITH_AS(ema.update(), doctest::Contains("full_parameters"),
                           fabric::RoutingError);
      CHECK_THROWS_AS(ema.swapped(), fabric::RoutingError);
    }
    torch::nn::Linear other(2, 2);
    CHECK_THROWS_WITH_AS(ema.copy_to(other), doctest::Contains("no 'first.weight'"),
                         fabric::MisconfigurationError);
    std::stringstream saved;
    torch::save(ema, saved);
    Training narrow("ddp", MLP(support::MLPImpl(6, 8, 3)));
    fabric::EMA smaller(narrow.model);
    CHECK_THROWS_AS(torch::load(smaller, saved), fabric::CheckpointError);
  }

  TEST_CASE("weights of few bits are averaged in fp32, and come back as they were") {
    for (const fabric::StrategyChoice& strategy : strategies()) {
      fabric::Fabric fabric({.strategy = strategy});
      fabric.launch();
      MLP net = support::with_seed(1, [] { return MLP(); });
      net->to(torch::kBFloat16);
      auto model = fabric.setup(net);
      fabric::EMA ema(model, {.decay = 0.999});
      const torch::NoGradGuard no_grad;
      std::vector<Tensor> first, second;
      {
        auto whole = fabric.full_parameters(model);
        for (const Tensor& parameter : net->parameters()) {
          first.push_back(parameter.clone());
          parameter.add_(1);
          second.push_back(parameter.clone());
        }
      }
      for (int i = 0; i < 1000; ++i) {  // a thousandth each: bfloat16 would not move
        ema.update();
      }
      MLP other;
      ema.copy_to(other);
      for (std::size_t i = 0; i < first.size(); ++i) {
        const Tensor from = first[i].to(torch::kDouble), to = second[i].to(torch::kDouble);
        const Tensor expected = from + (1 - std::pow(0.999, 1000)) * (to - from);
        CHECK((other->parameters()[i] - expected).abs().max().item<double>() < 0.01);
      }
      auto whole = fabric.full_parameters(model);
      CHECK(equal(net->parameters(), second));
    }
  }

  TEST_CASE("buffers are the model's own, or averaged too") {
    struct NetImpl : torch::nn::Module {
      NetImpl() { register_module("norm", norm); }
      Tensor forward(Tensor x) { return norm(x); }
      torch::nn::BatchNorm1d norm{6};
    };
    for (const bool average : {false, true}) {
      auto net = std::make_shared<NetImpl>();
      fabric::Fabric fabric({.strategy = "fsdp"});
      fabric.launch();
      auto model = fabric.setup(net);
      fabric::EMA ema(model, {.decay = 0.5, .buffers = average});
      const Tensor before = net->norm->running_mean.clone();
      model.forward(rows({6}).to(torch::kFloat));
      ema.update();
      const Tensor after = net->norm->running_mean.clone();
      {
        auto averaged = ema.swapped();
        const Tensor expected = average ? (before + after) / 2 : after;
        CHECK((net->norm->running_mean - expected).abs().max().item<double>() < 1e-6);
        CHECK(net->norm->num_batches_tracked.item<int64_t>() == 1);
      }
      CHECK(net->norm->running_mean.equal(after));
    }
  }
}
