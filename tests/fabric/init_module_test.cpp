// init_module with empty_init on one process: what setup makes of it, and its wrong uses.
#include <doctest/doctest.h>

#include <torch/script.h>
#include <torch/torch.h>

#include <fabric/fabric.h>
#include <strategies/deferred/tape.h>

#include <tests/support/counted_memory.h>
#include <tests/support/training.h>

namespace {

using support::distance;
using support::MLP;
using torch::Tensor;

MLP empty_mlp(fabric::Fabric& fabric, int64_t seed = 1) {
  torch::manual_seed(seed);
  return fabric.init_module([] { return MLP(); }, {.empty_init = true});
}

}  // namespace

TEST_SUITE("fabric.init_module") {
  TEST_CASE("empty_init gives values at setup, the same under every strategy") {
    std::vector<Tensor> first;
    for (const std::string strategy : {"single_device", "ddp", "fsdp"}) {
      CAPTURE(strategy);
      fabric::Fabric fabric({.strategy = strategy});
      MLP net = empty_mlp(fabric);
      CHECK(net->first->weight.is_meta());
      CHECK(net->forward(torch::ones({2, 6}, torch::kMeta)).is_meta());
      auto model = fabric.setup(net);
      std::vector<Tensor> values;
      for (const Tensor& parameter : net->parameters()) {
        CHECK(parameter.device().is_cpu());
        CHECK(parameter.requires_grad());
        values.push_back(parameter.detach().clone());
      }
      if (first.empty()) {
        first = values;
      }
      CHECK(distance(values, first) == 0);
      fabric.backward(model->forward(torch::ones({2, 6})).sum());
      CHECK(net->first->weight.grad().abs().sum().item<double>() > 0);
    }
    CHECK(fabric::Tape::alive() == 0);
  }

  TEST_CASE("any form of module") {
    fabric::Fabric fabric;
    struct Plain : torch::nn::Module {
      Plain() { weight = register_parameter("weight", torch::randn({300, 300})); }
      Tensor forward(Tensor x) { return x.mm(weight); }
      Tensor weight;
    };
    const support::CountedMemory memory;
    auto pointer =
        fabric.init_module([] { return std::make_shared<Plain>(); }, {.empty_init = true});
    Plain variable = fabric.init_module([] { return Plain(); }, {.empty_init = true});
    auto layer =
        fabric.init_module([] { return torch::nn::Linear(300, 300); }, {.empty_init = true});
    CHECK(memory.peak() < 100'000);
    const Tensor x = torch::ones({2, 300});
    CHECK(fabric.setup(pointer)(x).device().is_cpu());
    CHECK(fabric.setup(variable)(x).device().is_cpu());
    CHECK(fabric.setup(layer)(x).device().is_cpu());
    torch::jit::Module script = fabric.init_module(
        [] {
          torch::jit::Module made("Scale");
          made.register_parameter("weight", 2 + torch::zeros({3}), /*is_buffer=*/false);
          made.register_buffer("offset", torch::ones({3}));
          made.define("def forward(self, x):\n  return x * self.weight + self.offset\n");
          return made;
        },
        {.empty_init = true});
    CHECK(script.attr("weight").toTensor().is_meta());
    fabric::Fabric sharded({.strategy = "fsdp", .precision = "64-true"});
    auto model = sharded.setup(script);
    CHECK(model(torch::ones({3})).toTensor()[1].item<double>() == 3);
    CHECK((script.attr("weight").toTensor().scalar_type() == torch::kDouble));
  }

  TEST_CASE("precision and default dtype are those of an eager build") {
    fabric::Fabric fabric({.precision = "64-true"});
    MLP net = empty_mlp(fabric);
    CHECK((net->first->weight.scalar_type() == torch::kDouble));
    CHECK((torch::get_default_dtype() == caffe2::TypeMeta::Make<float>()));
    auto model = fabric.setup(net);
    CHECK((net->first->weight.scalar_type() == torch::kDouble));
    // Another precision than that of the build.
    fabric::Fabric plain;
    MLP other = empty_mlp(plain);
    auto converted = fabric.setup(other);
    CHECK((other->first->weight.scalar_type() == torch::kDouble));
    CHECK(distance(other->parameters(), net->parameters()) < 1);
  }

  TEST_CASE("without options it builds at once") {
    fabric::Fabric fabric;
    CHECK(fabric.init_module([] { return MLP(); })->first->weight.device().is_cpu());
    CHECK(fabric.init_module([] { return MLP(); }, {})->first->weight.device().is_cpu());
  }

  TEST_CASE("move_to_device = false has no say over tensors without values") {
    for (const std::string strategy : {"single_device", "fsdp"}) {
      fabric::Fabric fabric({.strategy = strategy});
      MLP net = empty_mlp(fabric);
      auto model = fabric.setup(net, {.move_to_device = false});
      CHECK(model.device().is_cpu());
      CHECK(model(torch::ones({1, 6})).device().is_cpu());
    }
  }

  TEST_CASE("a build that fails leaves nothing behind") {
    fabric::Fabric fabric({.precision = "64-true"});
    const auto fail = []() -> MLP {
      const MLP net;
      return net->first->weight.sum().item<double>() > 0 ? net : MLP();
    };
    CHECK_THROWS_WITH_AS(fabric.init_module(fail, {.empty_init = true}),
                         doctest::Contains("aten::item needs values"),
                         fabric::MisconfigurationError);
    CHECK((torch::get_default_dtype() == caffe2::TypeMeta::Make<float>()));
    CHECK(torch::ones({1}).device().is_cpu());
    CHECK(fabric::Tape::alive() == 0);
  }

  TEST_CASE("values that are wanted before setup are refused") {
    fabric::Fabric fabric;
    MLP net = empty_mlp(fabric);
    CHECK_THROWS_WITH_AS(net->first->weight.abs().max().item<double>(),
                         doctest::Contains("needs values"), fabric::MisconfigurationError);
    CHECK_THROWS_AS(net->to(torch::kCPU), fabric::MisconfigurationError);
    CHECK_THROWS_AS((void)net->first->weight.data_ptr(), c10::Error);
    auto model = fabric.setup(net);  // none of this did harm
    CHECK(model(torch::ones({1, 6})).isfinite().all().item<bool>());
  }

  TEST_CASE("tensors on meta that nobody recorded are refused") {
    for (const std::string strategy : {"single_device", "ddp", "fsdp"}) {
      fabric::Fabric fabric({.strategy = strategy});
      MLP net = empty_mlp(fabric);
      net->register_buffer("lost", torch::ones({2}, torch::kMeta));
      CHECK_THROWS_WITH_AS(fabric.setup(net),
                           doctest::Contains("buffer 'lost' of MLP lies on the meta device"),
                           fabric::MisconfigurationError);
      auto other = std::make_shared<torch::nn::Module>("Other");
      other->register_parameter("lost", torch::ones({2}, torch::kMeta));
      CHECK_THROWS_WITH_AS(fabric.setup(other), doctest::Contains("{.empty_init = true}"),
                           fabric::MisconfigurationError);
    }
  }

  TEST_CASE("the unrouted guard watches parameters that came late") {
    fabric::Fabric fabric({.precision = "bf16-mixed", .unrouted = "error"});
    MLP net = empty_mlp(fabric);
    auto model = fabric.setup(net);
    CHECK_THROWS_AS(net->forward(torch::ones({1, 6})), fabric::RoutingError);
    CHECK(model(torch::ones({1, 6})).requires_grad());
  }
}
