// Norms and clipping of gradients are those of one process under every strategy.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include <torch/torch.h>

#include <tests/support/sharding.h>

namespace {

using support::distance;
using support::double_net;
using support::kExact;
using support::MLP;
using support::own;
using support::rows;
using torch::Tensor;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// A net under a strategy and the same on one process, both with gradients.
struct Pair {
  explicit Pair(fabric::StrategyChoice strategy) : fabric({.strategy = strategy}) {
    fabric.launch();
    model = fabric.setup(net);
    optimizer = fabric.setup_optimizers(torch::optim::SGD(net->parameters(), 0.1));
    const Tensor x = rows({6});
    reference->forward(x).square().sum().div(x.size(0)).backward();
    fabric.backward(model->forward(own(x)).square().sum().div(own(x).size(0)));
  }
  /// How far a step takes the nets apart.
  double error_after_step() {
    optimizer.step();
    torch::optim::SGD(reference->parameters(), 0.1).step();
    return distance(net->parameters(), reference->parameters());
  }

  fabric::Fabric fabric;
  MLP reference = double_net<MLP>(), net = double_net<MLP>();
  fabric::FabricModule<support::MLPImpl> model;
  fabric::FabricOptimizer optimizer;
};

std::vector<fabric::StrategyChoice> strategies() {
  std::vector<fabric::StrategyChoice> list = {
      "ddp", support::kLinearUnits, fabric::FSDPOptions{.sharding = "none"},
      fabric::FSDPOptions{.replicas = fabric::world().size % 2 == 0 ? 2 : 1}};
  return list;
}

}  // namespace

TEST_SUITE("mpi.clip_gradients") {
  TEST_CASE("max_norm scales as on one process, for several norms") {
    for (const fabric::StrategyChoice& strategy : strategies()) {
      for (const double norm_type : {1.0, 2.0, 3.0, kInfinity}) {
        Pair pair(strategy);
        const double expected =
            torch::nn::utils::clip_grad_norm_(pair.reference->parameters(), 0.01, norm_type);
        CHECK(pair.fabric.gradient_norm(pair.optimizer, norm_type).item<double>() ==
              doctest::Approx(expected));
        const Tensor norm = pair.fabric.clip_gradients(pair.model, pair.optimizer,
                                                       {.max_norm = 0.01, .norm_type = norm_type});
        CHECK(norm.item<double>() == doctest::Approx(expected));
        CHECK(pair.fabric.gradient_norm(pair.optimizer, norm_type).item<double>() ==
              doctest::Approx(0.01).epsilon(1e-3));
        CHECK(pair.error_after_step() < kExact);
      }
    }
  }

  TEST_CASE("a norm below the limit changes nothing; clip_val limits each element") {
    for (const fabric::StrategyChoice& strategy : strategies()) {
      Pair loose(strategy);
      loose.fabric.clip_gradients(loose.model, loose.optimizer, {.max_norm = 1e6});
      CHECK(loose.error_after_step() < kExact);
      Pair tight(strategy);
      torch::nn::utils::clip_grad_value_(tight.reference->parameters(), 1e-3);
      tight.fabric.clip_gradients(tight.model, tight.optimizer, {.clip_val = 1e-3});
      CHECK(tight.error_after_step() < kExact);
    }
  }

  TEST_CASE("a gradient that is not finite on one rank is seen on all") {
    for (const fabric::StrategyChoice& strategy : strategies()) {
      for (const double norm_type : {2.0, kInfinity}) {
        Pair pair(strategy);
        Tensor x = own(rows({6})).clone();
        if (fabric::world().rank == fabric::world().size - 1) {
          x[0][0] = std::nan("");
        }
        pair.fabric.backward(pair.model->forward(x).sum());
        CHECK_FALSE(
            std::isfinite(pair.fabric.gradient_norm(pair.optimizer, norm_type).item<double>()));
        CHECK_THROWS_WITH_AS(
            pair.fabric.clip_gradients(
                pair.model, pair.optimizer,
                {.max_norm = 1.0, .norm_type = norm_type, .error_if_nonfinite = true}),
            doctest::Contains("the gradients of MLP are not finite"),
            fabric::MisconfigurationError);
      }
    }
  }

  TEST_CASE("options that cannot work are errors") {
    Pair pair("ddp");
    const auto clip = [&](fabric::ClipOptions options) {
      pair.fabric.clip_gradients(pair.model, pair.optimizer, options);
    };
    CHECK_THROWS_WITH_AS(clip({}), doctest::Contains("got neither"), fabric::MisconfigurationError);
    CHECK_THROWS_WITH_AS(clip({.max_norm = 1.0, .clip_val = 1.0}), doctest::Contains("got both"),
                         fabric::MisconfigurationError);
    CHECK_THROWS_WITH_AS(clip({.max_norm = -1.0}), doctest::Contains("max_norm is not positive"),
                         fabric::MisconfigurationError);
    CHECK_THROWS_WITH_AS(clip({.max_norm = 1.0, .norm_type = 0}),
                         doctest::Contains("norm_type is no norm"), fabric::MisconfigurationError);
  }
}
