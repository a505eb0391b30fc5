// Precisions: what is converted, what autocast covers, and that everything is put back.
#include <doctest/doctest.h>

#include <ATen/autocast_mode.h>
#include <torch/torch.h>

#include <fabric/fabric.h>

namespace {

using torch::Tensor;

struct Batch {
  Tensor data;
  Tensor target;
};

struct ProbeImpl : torch::nn::Module {
  ProbeImpl() : layer(register_module("layer", torch::nn::Linear(2, 2))) {}
  Tensor forward(Tensor x) {
    input = x.scalar_type();
    Tensor y = layer(x);
    computed = y.scalar_type();
    return y;
  }
  FABRIC_INFERENCE_ENTRY(count)
  Batch count(const Batch& batch) {
    CHECK((batch.target.scalar_type() == torch::kLong));
    return {forward(batch.data), batch.target};
  }
  FABRIC_INFERENCE_ENTRY(fail)
  void fail() { throw std::runtime_error("on purpose"); }

  torch::nn::Linear layer;
  at::ScalarType input{}, computed{};
};

}  // namespace

TEST_SUITE("fabric.precision") {
  TEST_CASE("32-true touches nothing") {
    fabric::Fabric fabric;
    auto net = std::make_shared<ProbeImpl>();
    net->to(torch::kDouble);
    auto model = fabric.setup(net);
    CHECK((model(torch::ones({1, 2}, torch::kDouble)).scalar_type() == torch::kDouble));
  }

  TEST_CASE("64-true computes in double and returns the default dtype") {
    fabric::Fabric fabric({.precision = "64-true"});
    auto net = std::make_shared<ProbeImpl>();
    auto model = fabric.setup(net);
    CHECK((net->layer->weight.scalar_type() == torch::kDouble));
    const Tensor output = model(torch::ones({1, 2}));
    CHECK((net->input == torch::kDouble));
    CHECK((net->computed == torch::kDouble));
    CHECK((output.scalar_type() == torch::kFloat));
    fabric.backward(output.sum());
    CHECK((net->layer->weight.grad().scalar_type() == torch::kDouble));
  }

  TEST_CASE("bf16-mixed computes under autocast, keeps fp32 weights and gradients") {
    for (const char* strategy : {"single_device", "ddp"}) {
      fabric::Fabric fabric({.strategy = std::string(strategy), .precision = "bf16-mixed"});
      auto net = std::make_shared<ProbeImpl>();
      auto model = fabric.setup(net);
      const Tensor output = model(torch::ones({1, 2}));
      CHECK((net->layer->weight.scalar_type() == torch::kFloat));
      CHECK((net->computed == torch::kBFloat16));
      CHECK((output.scalar_type() == torch::kFloat));
      fabric.backward(output.sum());
      CHECK((net->layer->weight.grad().scalar_type() == torch::kFloat));
    }
  }

  TEST_CASE("entries convert structs, and integers never") {
    fabric::Fabric fabric({.precision = "bf16-mixed"});
    auto net = std::make_shared<ProbeImpl>();
    auto model = fabric.setup(net);
    const Batch result =
        model->count(Batch{torch::ones({1, 2}, torch::kDouble), torch::ones({1}, torch::kLong)});
    CHECK((net->input == torch::kFloat));
    CHECK((net->computed == torch::kBFloat16));
    CHECK((result.data.scalar_type() == torch::kFloat));
    CHECK((result.target.scalar_type() == torch::kLong));
  }

  TEST_CASE("autocast and the default dtype are put back after exceptions") {
    for (const char* precision : {"64-true", "bf16-mixed"}) {
      fabric::Fabric fabric({.precision = std::string(precision)});
      auto model = fabric.setup(std::make_shared<ProbeImpl>());
      CHECK_THROWS(model->fail());
      CHECK(!at::autocast::is_autocast_enabled(at::kCPU));
      CHECK((torch::get_default_dtype() == caffe2::TypeMeta::Make<float>()));
      CHECK_THROWS(model->fail());  // and the model is still callable
    }
  }
}
