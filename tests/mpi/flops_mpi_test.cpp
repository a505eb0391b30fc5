// Operations of set-up models count as those of the same model on one process.
#include <doctest/doctest.h>

#include <torch/torch.h>

#include <fabric/flops.h>
#include <tests/support/sharding.h>

TEST_SUITE("mpi.flops") {
  TEST_CASE("sharded parameters count whole, gathering and reducing nothing") {
    using support::own;
    const torch::Tensor x = support::rows({6});
    support::MLP plain = support::double_net<support::MLP>();
    const std::int64_t expected =
        fabric::count_flops([&] { plain->forward(own(x)).sum().backward(); }).total;
    // Forward, and gradients of the weights; of the inputs of all layers but the first.
    CHECK(expected == 2 * 4 * (2 * (6 * 16 + 16 * 16 + 16 * 3) + 16 * 16 + 16 * 3));
    for (const fabric::StrategyChoice& strategy :
         {fabric::StrategyChoice("ddp"), fabric::StrategyChoice(support::kLinearUnits)}) {
      fabric::Fabric fabric({.strategy = strategy});
      fabric.launch();
      auto net = support::double_net<support::MLP>();
      auto model = fabric.setup(net);
      const fabric::Flops flops =
          fabric::count_flops([&] { fabric.backward(model->forward(own(x)).sum()); });
      CHECK(flops.total == expected);
    }
  }
}
