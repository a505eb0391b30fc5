// FabricModule: the six forms of module, marked and registered entries, nesting, empty handles.
#include <doctest/doctest.h>

#include <torch/script.h>
#include <torch/torch.h>

#include <fabric/fabric.h>

#include <tests/support/training.h>

namespace {

using torch::Tensor;

struct Choice {
  int n = 1;
  double scale = 1;
};

struct NetImpl : torch::nn::Module {
  NetImpl() : layer(register_module("layer", torch::nn::Linear(2, 2))) {}

  Tensor forward(Tensor x) {
    ++forwards;
    return layer(x);
  }

  FABRIC_INFERENCE_ENTRY(evaluate)
  Tensor evaluate(Tensor x, Tensor y, double weight = 1) { return (forward(x) - y).sum() * weight; }

  FABRIC_INFERENCE_ENTRY(generate)
  int generate(const Tensor&, Choice choice) const { return choice.n; }

  FABRIC_INFERENCE_ENTRY(consume)
  int consume(std::unique_ptr<int> value) { return *value; }

  FABRIC_INFERENCE_ENTRY(twice)
  Tensor twice(Tensor x) { return 2 * x; }
  double twice(double x) { return 2 * x; }

  FABRIC_INFERENCE_ENTRY(touch)
  void touch(int& counter) { ++counter; }

  Tensor encode(Tensor x) { return torch::relu(layer(x)); }
  Tensor apply(Tensor x, double factor) const { return x * factor; }
  Tensor apply(Tensor x) const { return x; }

  torch::nn::Linear layer;
  int forwards = 0;
};
TORCH_MODULE(Net);

struct DerivedImpl : NetImpl {
  FABRIC_INFERENCE_ENTRY(extra)
  int extra() { return 7; }
};
TORCH_MODULE(Derived);

torch::jit::Module scripted() {
  torch::jit::Module module("Scripted");
  module.register_parameter("weight", torch::ones({2, 2}, torch::requires_grad()),
                            /*is_buffer=*/false);
  module.define("def forward(self, x):\n    return torch.matmul(x, self.weight)\n");
  return module;
}

}  // namespace

TEST_SUITE("fabric.module") {
  TEST_CASE("setup takes all forms in which users hold a module") {
    fabric::Fabric fabric;
    fabric.launch();
    const Tensor x = torch::ones({3, 2});

    SUBCASE("a variable on the stack") {
      NetImpl net;
      auto model = fabric.setup(net);
      CHECK(&model.module() == &net);
      CHECK(torch::equal(model->forward(x), net.forward(x)));
      CHECK(model.name() == "Net");
    }
    SUBCASE("a shared pointer") {
      auto net = std::make_shared<NetImpl>();
      auto model = fabric.setup(net);
      CHECK(&model.module() == net.get());
      CHECK(torch::equal(model(x), net->forward(x)));
    }
    SUBCASE("a module holder, also a temporary one") {
      auto model = fabric.setup(Net());
      CHECK(model->forward(x).sizes() == x.sizes());
    }
    SUBCASE("Sequential") {
      torch::nn::Sequential net(torch::nn::Linear(2, 4), torch::nn::ReLU());
      auto model = fabric.setup(net);
      CHECK(torch::equal(model->forward(x), net->forward(x)));
    }
    SUBCASE("a single layer") {
      torch::nn::Linear net(2, 5);
      auto model = fabric.setup(net);
      CHECK(torch::equal(model->forward(x), net->forward(x)));
    }
    SUBCASE("TorchScript") {
      torch::jit::Module net = scripted();
      auto model = fabric.setup(net);
      CHECK(torch::equal(model(x).toTensor(), net.forward({x}).toTensor()));
      CHECK(model->parameters().size() == 1);
      fabric.backward(model->forward({x}).toTensor().sum());
      CHECK(net.attr("weight").toTensor().grad().defined());
      model->zero_grad();
      CHECK(!net.attr("weight").toTensor().grad().defined());
    }
  }

  TEST_CASE("handles can be named members, empty at first") {
    struct Trainer {
      fabric::FabricModule<NetImpl> model;
      fabric::FabricOptimizer optimizer;
    } trainer;
    CHECK_THROWS_WITH_AS(trainer.model->forward(torch::ones({1, 2})),
                         doctest::Contains("this FabricModule is empty"), fabric::NotLaunchedError);
    CHECK_THROWS_AS(trainer.model.evaluate(torch::Tensor(), torch::Tensor()),
                    fabric::NotLaunchedError);
    CHECK_THROWS_AS(trainer.optimizer.step(), fabric::NotLaunchedError);
    fabric::Fabric fabric;
    trainer.model = fabric.setup(Net());
    trainer.optimizer =
        fabric.setup_optimizers(torch::optim::SGD(trainer.model->parameters(), 0.1));
    fabric.backward(trainer.model->forward(torch::ones({1, 2})).sum());
    trainer.optimizer.step();
  }

  TEST_CASE("marked entries are typed members of the handle") {
    fabric::Fabric fabric;
    Net net;
    auto model = fabric.setup(net);
    const Tensor x = torch::ones({3, 2}), y = torch::zeros({3, 2});
    CHECK(torch::equal(model->evaluate(x, y), net->evaluate(x, y)));
    CHECK(torch::equal(model.evaluate(x, y, 2.0), net->evaluate(x, y, 2.0)));
    CHECK(model->generate(x, {.n = 4}) == 4);
    CHECK(model->consume(std::make_unique<int>(5)) == 5);
    CHECK(model->twice(1.5) == 3.0);
    CHECK(model->twice(x).sum().item<double>() == 12);
    int counter = 0;
    model->touch(counter);
    CHECK(counter == 1);
    const auto entry = model->evaluate;  // a value
    CHECK(torch::equal(entry(x, y), net->evaluate(x, y)));
  }

  TEST_CASE("marks of a base class are inherited") {
    fabric::Fabric fabric;
    auto model = fabric.setup(Derived());
    CHECK(model->extra() == 7);
    CHECK(model->generate(torch::Tensor(), {.n = 2}) == 2);
  }

  TEST_CASE("any method can be registered at run time") {
    fabric::Fabric fabric;
    Net net;
    auto model = fabric.setup(net);
    const Tensor x = torch::ones({3, 2});
    auto encode = model.register_forward_method(&NetImpl::encode);
    CHECK(torch::equal(encode(x), net->encode(x)));
    auto scaled = model.register_forward_method<Tensor(Tensor, double)>(&NetImpl::apply);
    CHECK(scaled(x, 3).sum().item<double>() == 18);
    CHECK_THROWS_WITH_AS(model.register_forward_method((Tensor(NetImpl::*)(Tensor)) nullptr),
                         doctest::Contains("the method is null"), fabric::MisconfigurationError);
  }

  TEST_CASE("a call nested in a routed call runs plainly and once") {
    fabric::Fabric fabric;
    auto owner = std::make_shared<NetImpl>();
    auto model = fabric.setup(owner);
    model->evaluate(torch::ones({3, 2}), torch::zeros({3, 2}));
    CHECK(owner->forwards == 1);
  }

  TEST_CASE("LibTorch's verbs work on the handle") {
    fabric::Fabric fabric;
    Net net;
    auto model = fabric.setup(net);
    model->eval();
    CHECK(!net->is_training());
    model.train();
    CHECK(model->is_training());
    CHECK(model->parameters().size() == 2);
    CHECK(model->named_parameters().contains("layer.weight"));
    CHECK((model->device() == torch::kCPU));
    model->to(torch::kDouble);
    CHECK((net->layer->weight.scalar_type() == torch::kDouble));
    net->layer->weight.mutable_grad() = torch::ones({2, 2}, torch::kDouble);
    model->zero_grad();
    CHECK(!net->layer->weight.grad().defined());
  }

  TEST_CASE("setting up twice and sharing parameters name the models and the cure") {
    fabric::Fabric fabric;
    Net net;
    auto model = fabric.setup(net);
    CHECK_THROWS_WITH_AS(fabric.setup(net), doctest::Contains("has been set up already"),
                         fabric::MisconfigurationError);
    torch::nn::Sequential actor(net->layer, torch::nn::Linear(2, 1));
    CHECK_THROWS_WITH_AS(
        fabric.setup(actor),
        doctest::Contains(
            "Sequential shares parameters with Net, which was set up before; got 2 of "
            "its 4 parameters there, for example '0.weight'"),
        fabric::MisconfigurationError);
  }

  TEST_CASE("a model that is gone makes room for the next") {
    fabric::Fabric fabric;
    for (int fold = 0; fold < 3; ++fold) {
      NetImpl net;  // the same address every time
      auto model = fabric.setup(net);
      CHECK(model.name() == "Net");
    }
  }

  TEST_CASE("empty holders and pointers are refused") {
    fabric::Fabric fabric;
    Net empty = nullptr;
    CHECK_THROWS_WITH_AS(fabric.setup(empty), doctest::Contains("the module holder is empty"),
                         fabric::MisconfigurationError);
    std::shared_ptr<NetImpl> null;
    CHECK_THROWS_WITH_AS(fabric.setup(null), doctest::Contains("the module pointer is null"),
                         fabric::MisconfigurationError);
  }
}
