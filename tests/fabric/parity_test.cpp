// One device: a Fabric loop leaves the same bits as the raw loop.
#include <doctest/doctest.h>

#include <torch/torch.h>

#include <fabric/fabric.h>

#include <tests/support/training.h>

namespace {

using torch::Tensor;

struct NoisyImpl : torch::nn::Module {
  NoisyImpl()
      : layer(register_module("layer", torch::nn::Linear(6, 16))),
        norm(register_module("norm", torch::nn::BatchNorm1d(16))),
        dropout(register_module("dropout", torch::nn::Dropout(0.3))),
        head(register_module("head", torch::nn::Linear(16, 3))) {}
  Tensor forward(Tensor x) { return head(dropout(torch::relu(norm(layer(x))))); }
  torch::nn::Linear layer;
  torch::nn::BatchNorm1d norm;
  torch::nn::Dropout dropout;
  torch::nn::Linear head;
};
TORCH_MODULE(Noisy);

template <class MakeOptimizer>
void check_parity(const char* strategy, MakeOptimizer make_optimizer) {
  const auto batches = support::with_seed(3, [] {
    std::vector<std::pair<Tensor, Tensor>> all;
    for (int i = 0; i < 20; ++i) {
      all.emplace_back(torch::randn({8, 6}), torch::randint(3, {8}, torch::kLong));
    }
    return all;
  });

  auto raw = support::with_seed(1, [] { return Noisy(); });
  auto raw_optimizer = make_optimizer(raw->parameters());
  torch::manual_seed(2);
  for (const auto& [x, y] : batches) {
    raw_optimizer.zero_grad();
    torch::nn::functional::cross_entropy(raw->forward(x), y).backward();
    raw_optimizer.step();
  }

  fabric::Fabric fabric({.strategy = std::string(strategy)});
  fabric.launch();
  auto net = support::with_seed(1, [] { return Noisy(); });
  auto model = fabric.setup(net);
  auto optimizer = fabric.setup_optimizers(make_optimizer(model->parameters()));
  torch::manual_seed(2);
  for (const auto& [x, y] : batches) {
    optimizer.zero_grad();
    fabric.backward(torch::nn::functional::cross_entropy(model->forward(x), y));
    optimizer.step();
  }

  CHECK(support::distance(net->parameters(), raw->parameters()) == 0);
  CHECK(support::distance(net->buffers(), raw->buffers()) == 0);
}

}  // namespace

TEST_SUITE("fabric.parity") {
  TEST_CASE("twenty steps of SGD with BatchNorm and Dropout are bit-equal to the raw loop") {
    for (const char* strategy : {"single_device", "ddp"}) {
      CAPTURE(strategy);
      check_parity(strategy, [](std::vector<Tensor> parameters) {
        return torch::optim::SGD(std::move(parameters),
                                 torch::optim::SGDOptions(0.1).momentum(0.9).weight_decay(1e-3));
      });
    }
  }

  TEST_CASE("twenty steps of Adam with BatchNorm and Dropout are bit-equal to the raw loop") {
    for (const char* strategy : {"single_device", "ddp"}) {
      CAPTURE(strategy);
      check_parity(strategy, [](std::vector<Tensor> parameters) {
        return torch::optim::Adam(std::move(parameters), 1e-2);
      });
    }
  }
}
