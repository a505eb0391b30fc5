// Channels-last models over ranks train as contiguous ones on one process, under every strategy.
#include <doctest/doctest.h>

#include <torch/torch.h>

#include <tests/support/sharding.h>

namespace {

using support::own;
using support::rows;
using torch::Tensor;

struct ConvNetImpl : torch::nn::Module {
  ConvNetImpl()
      : first(register_module("first", torch::nn::Conv2d(3, 8, 3))),
        second(register_module("second", torch::nn::Conv2d(8, 5, 3))),
        head(register_module("head", torch::nn::Linear(5, 4))),
        scale(register_buffer("scale", torch::rand({1, 8, 4, 4}))) {}
  Tensor forward(Tensor x) { return head(second(torch::tanh(first(x) * scale)).mean({2, 3})); }
  torch::nn::Conv2d first, second;
  torch::nn::Linear head;
  Tensor scale;
};
TORCH_MODULE(ConvNet);

template <class Optimizer, class Options>
void check(const fabric::StrategyChoice& strategy, const Options& options) {
  CAPTURE(strategy.to_text());
  ConvNet reference = support::double_net<ConvNet>();
  // Values of another rank than 0 must not count, whatever their order in memory.
  ConvNet net = support::double_net<ConvNet>(1 + fabric::world().rank);
  Optimizer reference_optimizer(reference->parameters(), options);
  fabric::Fabric fabric({.strategy = strategy});
  fabric.launch();
  auto model = fabric.setup(net, fabric::SetupOptions{.memory_format = "channels_last"});
  auto optimizer = fabric.setup_optimizers(Optimizer(net->parameters(), options));
  CHECK(support::distance(net->parameters(), reference->parameters()) == 0);
  CHECK(torch::equal(net->scale, reference->scale));
  for (int step = 0; step < 4; ++step) {
    const Tensor x = rows({3, 6, 6}, step);
    reference_optimizer.zero_grad();
    reference->forward(x).square().mean().backward();
    reference_optimizer.step();
    optimizer.zero_grad();
    fabric.backward(model->forward(own(x)).square().mean());
    optimizer.step();
    CHECK(support::distance(net->parameters(), reference->parameters()) < support::kExact);
  }
  for (const Tensor& weight : {net->first->weight, net->second->weight}) {
    CHECK(weight.is_contiguous(torch::MemoryFormat::ChannelsLast));
    CHECK(!weight.is_contiguous());
    if (strategy.name() == "ddp") {
      CHECK(weight.grad().strides() == weight.strides());
    }
  }
  const auto guard = fabric.full_parameters(model);
  CHECK(support::distance(net->parameters(), reference->parameters()) < support::kExact);
}

}  // namespace

TEST_SUITE("mpi.memory_format") {
  TEST_CASE("channels-last models over ranks train as contiguous ones on one process") {
    const std::vector<fabric::StrategyChoice> strategies{
        "ddp", "fsdp", fabric::FSDPOptions{.units = {"Conv2d"}},
        fabric::FSDPOptions{.sharding = "grad_op"}, fabric::FSDPOptions{.sharding = "none"}};
    for (const fabric::StrategyChoice& strategy : strategies) {
      check<torch::optim::SGD>(strategy, torch::optim::SGDOptions(0.05).momentum(0.9));
      check<torch::optim::AdamW>(strategy, torch::optim::AdamWOptions(0.01));
      check<fabric::FusedAdamW>(strategy, fabric::FusedAdamWOptions(0.01));
    }
  }
}
