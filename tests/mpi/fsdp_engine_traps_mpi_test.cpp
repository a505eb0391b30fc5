// What breaks a naive sharding engine from within, each by name: threads, re-entrance, frozen
// parameters, memory, TorchScript. Runs at 1, 2, 3 and 4 ranks.
#include <doctest/doctest.h>

#include <array>
#include <limits>
#include <thread>

#include <torch/script.h>
#include <torch/torch.h>

#include <tests/support/sharding.h>

namespace {

using support::distance;
using support::double_net;
using support::kExact;
using support::MLP;
using support::own;
using support::rows;
using support::Twin;
using torch::Tensor;

/// Odd sizes: every parameter is followed by a gap.
struct OddNetImpl : torch::nn::Module {
  OddNetImpl()
      : first(register_module("first", torch::nn::Linear(6, 5))),
        second(register_module("second", torch::nn::Linear(5, 3))) {}
  Tensor forward(Tensor x) { return second(torch::tanh(first(x))); }
  torch::nn::Linear first, second;
};
TORCH_MODULE(OddNet);

/// Leaves memory full of NaNs behind for the allocator to hand out again.
void poison_free_memory() {
  for (int64_t size = 8; size < 4096; size *= 2) {
    std::vector<Tensor> tensors;
    for (int i = 0; i < 16; ++i) {
      tensors.push_back(
          torch::full({size}, std::numeric_limits<double>::quiet_NaN(), torch::kDouble));
    }
  }
}

}  // namespace

TEST_SUITE("mpi.fsdp_engine_traps") {
  TEST_CASE("7: a backward inside a backward, after one that failed") {
    const Tensor x = rows({6}), y = rows({6}, 9);
    for (const bool bare : {true, false}) {
      Twin<MLP> twin(0.1);
      // A hook in the middle of the first net differentiates through the whole net once more.
      const auto run = [](MLP& net, const Tensor& inputs, const Tensor& others, auto backward) {
        const Tensor hidden = torch::tanh(net->first(inputs));
        const Tensor other = net->forward(others).square().mean();
        hidden.register_hook([other](const Tensor&) { other.backward(); });
        backward(net->third(torch::tanh(net->second(hidden))).square().mean());
      };
      for (int i = 0; i < 3; ++i) {
        const Tensor hidden = torch::tanh(twin.net->first(own(x)));
        hidden.register_hook([](const Tensor&) -> Tensor { throw std::runtime_error("no"); });
        const Tensor fails = twin.net->third(hidden).sum();
        CHECK_THROWS_WITH(bare ? fails.backward() : twin.fabric.backward(fails),
                          doctest::Contains("no"));
        twin.step([&] { run(twin.reference, x, y, [](const Tensor& loss) { loss.backward(); }); },
                  [&] {
                    run(twin.net, own(x), own(y), [&](const Tensor& loss) {
                      bare ? loss.backward() : twin.fabric.backward(loss);
                    });
                  });
      }
      CHECK(twin.error() < kExact);
    }
  }

  TEST_CASE("9: gaps between parameters never carry garbage, setup in InferenceMode included") {
    const Tensor x = rows({6});
    poison_free_memory();
    Twin<OddNet, torch::optim::AdamW> twin(0.01, {.units = {"Linear"}});
    for (int i = 0; i < 3; ++i) {
      poison_free_memory();
      twin.step(x);
    }
    CHECK(twin.error() < kExact);
    for (const Tensor& shard : twin.optimizer.param_groups()[0].params()) {
      CHECK(torch::isfinite(shard).all().item<bool>());
      CHECK(torch::isfinite(shard.grad()).all().item<bool>());
    }
    OddNet net = double_net<OddNet>(), reference = double_net<OddNet>();
    fabric::FabricModule<OddNetImpl> model;
    {
      const c10::InferenceMode inference;
      model = twin.fabric.setup(net);
    }
    twin.fabric.backward(model->forward(own(x)).square().mean());
    reference->forward(x).square().mean().backward();
    for (std::size_t i = 0; i < 4; ++i) {
      CHECK(distance({net->parameters()[i].grad()}, {reference->parameters()[i].grad()}) < kExact);
    }
  }

  TEST_CASE("11: two threads train two models at the same time") {
    const Tensor x = rows({6});
    fabric::Fabric fabric({.strategy = support::kLinearUnits});
    fabric.launch();
    std::array<MLP, 2> nets = {double_net<MLP>(1), double_net<MLP>(2)};
    std::array<MLP, 2> references = {double_net<MLP>(1), double_net<MLP>(2)};
    std::array models = {fabric.setup(nets[0]), fabric.setup(nets[1])};
    std::array<std::thread, 2> threads;
    for (int i = 0; i < 2; ++i) {
      threads[i] = std::thread([&, i] {
        for (int step = 0; step < 5; ++step) {
          models[i]->forward(own(x)).square().mean().backward();
          const torch::NoGradGuard no_grad;
          for (Tensor& parameter : nets[i]->parameters()) {
            parameter.sub_(parameter.grad(), 0.1);
            parameter.mutable_grad().reset();
          }
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    for (int i = 0; i < 2; ++i) {
      torch::optim::SGD optimizer(references[i]->parameters(), 0.1);
      for (int step = 0; step < 5; ++step) {
        optimizer.zero_grad();
        references[i]->forward(x).square().mean().backward();
        optimizer.step();
      }
      CHECK(distance(nets[i]->parameters(), references[i]->parameters()) < kExact);
    }
  }

  TEST_CASE("16: backward on another thread than forward") {
    const Tensor x = rows({6});
    Twin<MLP> twin(0.1);
    for (int i = 0; i < 3; ++i) {
      twin.step(
          [&] { twin.reference->forward(x).square().mean().backward(); },
          [&] {
            const Tensor loss = twin.model->forward(own(x)).square().mean();
            std::thread([&] { i % 2 == 0 ? loss.backward() : twin.fabric.backward(loss); }).join();
          });
    }
    CHECK(twin.error() < kExact);
  }

  TEST_CASE("17: parameters that were frozen at setup are trained once they are unfrozen") {
    const Tensor x = rows({6});
    const auto make = [](int64_t seed) {
      MLP net = double_net<MLP>(seed);
      for (Tensor& parameter : net->first->parameters()) {
        parameter.set_requires_grad(false);
      }
      return net;
    };
    Twin<MLP, torch::optim::AdamW> twin(0.01, support::kLinearUnits, make);
    for (int i = 0; i < 6; ++i) {
      for (MLP* net : {&twin.reference, &twin.net}) {
        for (Tensor& parameter : (*net)->first->parameters()) {
          parameter.set_requires_grad(i >= 2);
        }
        (*net)->third->weight.set_requires_grad(i % 2 == 0);
      }
      twin.step(x);
    }
    CHECK(twin.error() < kExact);
    CHECK(distance(twin.net->first->parameters(), make(1)->first->parameters()) > 1e-3);
  }

  TEST_CASE("21: a TorchScript model is gathered, the profiling executor included") {
    const Tensor whole = rows({4});
    torch::jit::Module script("Scripted");
    torch::manual_seed(2);
    for (const char* name : {"first", "second"}) {
      script.register_parameter(
          name, torch::randn({4, 4}, torch::dtype(torch::kDouble).requires_grad(true)), false);
    }
    script.define(
        "def encode(self, x):\n    return torch.tanh(torch.matmul(x, self.first))\n"
        "def forward(self, x):\n    return torch.relu(torch.matmul(self.encode(x), "
        "self.second.t()) * 2.0 + 1.0)\n");
    Tensor first = script.attr("first").toTensor().detach().clone().requires_grad_();
    Tensor second = script.attr("second").toTensor().detach().clone().requires_grad_();
    const auto plain = [&](const Tensor& x) {
      return torch::relu(torch::matmul(torch::tanh(torch::matmul(x, first)), second.t()) * 2.0 +
                         1.0);
    };
    fabric::Fabric fabric({.strategy = "fsdp"});
    fabric.launch();
    auto model = fabric.setup(script);
    auto optimizer = fabric.setup_optimizers(torch::optim::SGD(model->parameters(), 0.1));
    torch::optim::SGD reference({first, second}, 0.1);
    for (int step = 0; step < 5; ++step) {
      reference.zero_grad();
      plain(whole).square().mean().backward();
      reference.step();
      optimizer.zero_grad();
      fabric.backward(model->forward({own(whole)}).toTensor().square().mean());
      optimizer.step();
    }
    CHECK(distance(model->parameters(), {first, second}) < kExact);
  }
}
