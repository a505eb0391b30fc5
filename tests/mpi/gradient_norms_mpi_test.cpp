// Norms of each parameter's gradient are those of one process under every strategy.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include <torch/torch.h>

#include <tests/support/sharding.h>

namespace {

using support::double_net;
using support::MLP;
using support::own;
using support::rows;
using torch::Tensor;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<fabric::StrategyChoice> strategies() {
  std::vector<fabric::StrategyChoice> list = {
      "ddp", "fsdp", support::kLinearUnits, fabric::FSDPOptions{.sharding = "none"},
      fabric::FSDPOptions{.replicas = fabric::world().size % 2 == 0 ? 2 : 1}};
  return list;
}

}  // namespace

TEST_SUITE("mpi.gradient_norms") {
  TEST_CASE("each parameter's norm under its name, for several norms; frozen ones have none") {
    for (const fabric::StrategyChoice& strategy : strategies()) {
      fabric::Fabric fabric({.strategy = strategy});
      fabric.launch();
      MLP reference = double_net<MLP>(), net = double_net<MLP>();
      reference->second->bias.requires_grad_(false);
      net->second->bias.requires_grad_(false);
      auto model = fabric.setup(net);
      CHECK(fabric.gradient_norms(model).empty());
      const Tensor x = rows({6});
      // Twice: the optimizer may have cut shards anew in between.
      auto optimizer = fabric.setup_optimizers(torch::optim::SGD(net->parameters(), 0.0));
      for (int round = 0; round < 2; ++round) {
        reference->zero_grad();
        reference->forward(x).square().mean().backward();
        optimizer.zero_grad();
        fabric.backward(model->forward(own(x)).square().mean());
        for (const double norm_type : {1.0, 2.0, 3.5, kInfinity}) {
          const auto norms = fabric.gradient_norms(model, norm_type);
          REQUIRE(norms.size() == 5);
          std::size_t i = 0;
          for (const auto& item : reference->named_parameters()) {
            if (!item.value().grad().defined()) {
              continue;
            }
            CHECK(norms[i].name == item.key());
            CHECK(norms[i].tensor.dim() == 0);
            const double expected = item.value().grad().norm(norm_type).item<double>();
            CHECK(std::abs(norms[i].tensor.item<double>() - expected) < 1e-12);
            ++i;
          }
        }
        optimizer.step();
      }
      optimizer.zero_grad();
      CHECK(fabric.gradient_norms(model).empty());
    }
  }

  TEST_CASE("one that is not finite on any rank is not on all, and only that one") {
    for (const fabric::StrategyChoice& strategy : strategies()) {
      for (const double norm_type : {2.0, kInfinity}) {
        fabric::Fabric fabric({.strategy = strategy});
        fabric.launch();
        MLP net = double_net<MLP>();
        auto model = fabric.setup(net);
        fabric.backward(model->forward(own(rows({6}))).square().mean());
        {
          const torch::NoGradGuard no_grad;
          net->third->weight.mutable_grad().fill_(std::nan(""));
        }
        for (const auto& [name, norm] : fabric.gradient_norms(model, norm_type)) {
          CHECK(std::isnan(norm.item<double>()) == (name == "third.weight"));
        }
      }
    }
  }

  TEST_CASE("a norm that is none is refused") {
    fabric::Fabric fabric;
    fabric.launch();
    auto model = fabric.setup(double_net<MLP>());
    CHECK_THROWS_AS(fabric.gradient_norms(model, 0), fabric::MisconfigurationError);
  }
}
