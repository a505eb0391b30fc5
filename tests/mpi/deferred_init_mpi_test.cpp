// Modules built with empty_init, and set up over ranks: the values of one device, trained to the
// numbers of one process, and never whole in memory under fsdp. Runs at 1, 2, 3 and 4 ranks.
#include <doctest/doctest.h>

#include <torch/torch.h>

#include <fabric/fabric.h>
#include <strategies/deferred/tape.h>

#include <tests/support/counted_memory.h>
#include <tests/support/training.h>

namespace {

using support::distance;
using support::part;
using torch::Tensor;

constexpr double kExact = 1e-12;  // fp64

/// Layers of many kinds, buffers, a tied parameter, a frozen one and one computed by hand.
struct MixedNetImpl : torch::nn::Module {
  MixedNetImpl()
      : embedding(register_module("embedding", torch::nn::Embedding(7, 8))),
        convolution(register_module(
            "convolution",
            torch::nn::Conv1d(torch::nn::Conv1dOptions(8, 8, 3).padding(1).bias(false)))),
        norm(register_module("norm", torch::nn::BatchNorm1d(8))),
        lstm(register_module("lstm",
                             torch::nn::LSTM(torch::nn::LSTMOptions(8, 8).batch_first(true)))),
        blocks(register_module("blocks", torch::nn::ModuleList())),
        head(register_module("head", torch::nn::Linear(torch::nn::LinearOptions(8, 7)))) {
    for (int i = 0; i < 2; ++i) {
      blocks->push_back(torch::nn::Sequential(torch::nn::Linear(8, 16), torch::nn::Tanh(),
                                              torch::nn::Linear(16, 8)));
    }
    tied = register_parameter("tied", embedding->weight);
    scale = register_parameter("scale", 1 + 0.1 * torch::randn({8}));
    offset = register_parameter("offset", torch::full({8}, 0.5), /*requires_grad=*/false);
    to(torch::kDouble);
  }
  Tensor forward(Tensor tokens) {  // (batch, time) of integers
    Tensor x = embedding(tokens).transpose(1, 2);
    x = norm(convolution(x)).transpose(1, 2);
    x = std::get<0>(lstm(x)) * scale + offset;
    for (const auto& block : *blocks) {
      x = x + block->as<torch::nn::Sequential>()->forward(x);
    }
    return head(x) + torch::linear(x, tied);
  }
  torch::nn::Embedding embedding;
  torch::nn::Conv1d convolution;
  torch::nn::BatchNorm1d norm;
  torch::nn::LSTM lstm;
  torch::nn::ModuleList blocks;
  torch::nn::Linear head;
  Tensor tied, scale, offset;
};
TORCH_MODULE(MixedNet);

/// What one device makes of a seed.
MixedNet reference_net(int64_t seed = 1) {
  torch::manual_seed(seed);
  MixedNet net = [] {
    const fabric::DeferredInit building;
    return MixedNet();
  }();
  fabric::materialise(net->parameters(), torch::kCPU);
  fabric::materialise(net->buffers(), torch::kCPU);
  return net;
}

/// The same over ranks: rank 0's seed counts.
MixedNet empty_net(fabric::Fabric& fabric, int64_t seed = 1) {
  torch::manual_seed(seed + 100 * fabric.global_rank());
  MixedNet net = fabric.init_module([] { return MixedNet(); }, {.empty_init = true});
  for (const Tensor& parameter : net->parameters()) {
    CHECK(fabric::is_deferred(parameter));
  }
  return net;
}

/// For optimizers, which would step a tied parameter twice.
std::vector<Tensor> once(const MixedNet& net) {
  std::vector<Tensor> list;
  for (const auto& item : net->named_parameters()) {
    if (item.key() != "tied") {
      list.push_back(item.value());
    }
  }
  return list;
}

Tensor tokens() {
  torch::manual_seed(7);
  return torch::randint(7, {4L * fabric::world().size, 5});
}

Tensor loss_of(MixedNet& net, const Tensor& batch) {
  return torch::nn::functional::cross_entropy(net->forward(batch).flatten(0, 1), batch.flatten());
}

double buffer_distance(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  double largest = a.size() == b.size() ? 0 : 1e300;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    largest = std::max(
        largest, (a[i].to(torch::kDouble) - b[i].to(torch::kDouble)).abs().max().item<double>());
  }
  return largest;
}

std::vector<fabric::StrategyChoice> strategies() {
  return {fabric::DDPOptions{}, fabric::FSDPOptions{},
          fabric::FSDPOptions{.units = {"Linear", "LSTM"}},
          fabric::FSDPOptions{.units = {"Sequential"}}};
}

}  // namespace

TEST_SUITE("mpi.deferred_init") {
  TEST_CASE("values are those of one device, whatever the strategy and its units") {
    const MixedNet reference = reference_net();
    for (const auto& strategy : strategies()) {
      CAPTURE(strategy.to_text());
      fabric::Fabric fabric({.strategy = strategy});
      fabric.launch();
      MixedNet net = empty_net(fabric);
      auto model = fabric.setup(net);
      CHECK(distance(net->parameters(), reference->parameters()) == 0);
      CHECK(buffer_distance(net->buffers(), reference->buffers()) == 0);
      CHECK_FALSE(net->offset.requires_grad());
      CHECK(net->tied.is_same(net->embedding->weight));
    }
    CHECK(fabric::Tape::alive() == 0);
  }

  TEST_CASE("training goes on as on one process") {
    for (const auto& strategy : strategies()) {
      CAPTURE(strategy.to_text());
      for (const bool optimizer_first : {true, false}) {
        CAPTURE(optimizer_first);
        const auto options = torch::optim::AdamWOptions(0.01).weight_decay(0.1);
        MixedNet reference = reference_net();
        torch::optim::AdamW plain(once(reference), options);
        fabric::Fabric fabric({.strategy = strategy});
        fabric.launch();
        MixedNet net = empty_net(fabric);
        fabric.convert_sync_batchnorm(net);
        fabric::FabricModule<MixedNetImpl> model;
        fabric::FabricOptimizer optimizer;
        if (optimizer_first) {
          auto early = std::make_shared<torch::optim::AdamW>(once(net), options);
          model = fabric.setup(net);
          optimizer = fabric.setup_optimizers(early);
        } else {
          model = fabric.setup(net);
          optimizer = fabric.setup_optimizers(torch::optim::AdamW(once(net), options));
        }
        const Tensor batch = tokens();
        for (int step = 0; step < 4; ++step) {
          plain.zero_grad();
          loss_of(reference, batch).backward();
          plain.step();
          optimizer.zero_grad();
          const Tensor own = part(batch, fabric.global_rank(), fabric.world_size());
          fabric.backward(fabric.routed([&] { return loss_of(net, own); }, model));
          optimizer.step();
        }
        CHECK(distance(net->parameters(), reference->parameters()) < kExact);
        CHECK(buffer_distance(net->buffers(), reference->buffers()) < kExact);
      }
    }
  }

  TEST_CASE("under fsdp the whole model is never on a rank") {
    constexpr int64_t kWidth = 512;
    constexpr int64_t kUnit = kWidth * kWidth * 4;  // bytes
    constexpr int64_t kLayers = 8;
    constexpr int64_t kSmall = 1 << 18;
    const int64_t ranks = fabric::world().size;
    fabric::Fabric fabric({.strategy = fabric::FSDPOptions{.units = {"Linear"}}});
    fabric.launch();
    const support::CountedMemory memory;
    auto net = fabric.init_module(
        [] {
          torch::nn::Sequential list;
          for (int i = 0; i < kLayers; ++i) {
            list->push_back(
                torch::nn::Linear(torch::nn::LinearOptions(kWidth, kWidth).bias(false)));
          }
          return list;
        },
        {.empty_init = true});
    CHECK(memory.peak() < kSmall);
    auto model = fabric.setup(net);
    CHECK(memory.peak() <= kLayers * kUnit / ranks + 2 * kUnit + kSmall);
    CHECK(memory.live() >= kLayers * kUnit / ranks);
    CHECK(memory.live() <= kLayers * kUnit / ranks + kSmall);
    CHECK(fabric::Tape::alive() == 0);  // what was recorded is gone, too
  }

  TEST_CASE("what is done before setup counts, also in another precision") {
    for (const auto& strategy : strategies()) {
      CAPTURE(strategy.to_text());
      if (strategy.to_text().find("Sequential") != std::string::npos) {
        continue;  // which an MLP has none of
      }
      fabric::Fabric fabric({.strategy = strategy, .precision = "64-true"});
      fabric.launch();
      torch::manual_seed(1);
      auto net = fabric.init_module([] { return support::MLP(); }, {.empty_init = true});
      CHECK((net->first->weight.scalar_type() == torch::kDouble));
      net->to(torch::kFloat);
      torch::nn::init::constant_(net->first->bias, 3);
      {
        const torch::NoGradGuard no_grad;
        net->second->weight[2].zero_();
      }
      auto model = fabric.setup(net);
      CHECK((net->first->weight.scalar_type() == torch::kDouble));
      CHECK(torch::all(net->first->bias == 3).item<bool>());
      CHECK(net->second->weight[2].abs().max().item<double>() == 0);
      CHECK(net->second->weight[3].abs().max().item<double>() > 0);
    }
  }

  TEST_CASE("a module that is partly real is set up like others") {
    for (const auto& strategy : strategies()) {
      CAPTURE(strategy.to_text());
      fabric::Fabric fabric({.strategy = strategy});
      fabric.launch();
      auto net = fabric.init_module(
          [] {
            torch::nn::Sequential list(torch::nn::Linear(4, 4), torch::nn::Linear(4, 4));
            auto& first = *list->ptr<torch::nn::LinearImpl>(0);
            first.weight = first.register_parameter("real", torch::ones({4, 4}, torch::kCPU));
            auto lstm = torch::nn::LSTM(4, 4);
            list->register_module("lstm", lstm);
            return list;
          },
          {.empty_init = true});
      auto model = fabric.setup(net);
      CHECK(torch::all(net->named_parameters()["0.real"] == 1).item<bool>());
      fabric.backward(model->forward(torch::ones({2, 4})).sum());
      CHECK(net->named_parameters()["0.real"].grad().abs().max().item<double>() >= 0);
    }
  }

  TEST_CASE("a module on meta that nobody recorded is refused on every rank") {
    for (const auto& strategy : strategies()) {
      CAPTURE(strategy.to_text());
      fabric::Fabric fabric({.strategy = strategy});
      fabric.launch();
      support::MLP net;
      net->register_parameter("lost", torch::ones({2}, torch::kMeta));
      CHECK_THROWS_WITH_AS(fabric.setup(net),
                           doctest::Contains("parameter 'lost' of MLP lies on the meta device"),
                           fabric::MisconfigurationError);
    }
  }
}
