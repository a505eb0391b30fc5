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

  TEST_CASE("true precisions convert weights and buffers, never integers") {
    const std::pair<const char*, at::ScalarType> rows[] = {
        {"64-true", torch::kDouble}, {"bf16-true", torch::kBFloat16}, {"16-true", torch::kHalf}};
    for (const auto& [precision, dtype] : rows) {
      CAPTURE(precision);
      fabric::Fabric fabric({.precision = std::string(precision)});
      auto net = std::make_shared<ProbeImpl>();
      auto norm = net->register_module("norm", torch::nn::BatchNorm1d(2));
      auto model = fabric.setup(net);
      CHECK((net->layer->weight.scalar_type() == dtype));
      CHECK((norm->running_mean.scalar_type() == dtype));
      CHECK((norm->num_batches_tracked.scalar_type() == torch::kLong));
      const Tensor output = model(torch::ones({1, 2}));
      CHECK((net->input == dtype));
      CHECK((net->computed == dtype));
      CHECK((output.scalar_type() == torch::kFloat));
      fabric.backward(output.sum());
      CHECK((net->layer->weight.grad().scalar_type() == dtype));
      auto made = fabric.init_module([] { return torch::nn::Linear(2, 2); });
      CHECK((made->weight.scalar_type() == dtype));
      CHECK((torch::get_default_dtype() == caffe2::TypeMeta::Make<float>()));
    }
  }

  TEST_CASE("mixed precisions compute under autocast, keep fp32 weights and gradients") {
    for (const auto& [strategy, precision, dtype] :
         {std::tuple("single_device", "bf16-mixed", torch::kBFloat16),
          std::tuple("ddp", "bf16-mixed", torch::kBFloat16),
          std::tuple("single_device", "16-mixed", torch::kHalf),
          std::tuple("ddp", "16-mixed", torch::kHalf)}) {
      fabric::Fabric fabric(
          {.strategy = std::string(strategy), .precision = std::string(precision)});
      auto net = std::make_shared<ProbeImpl>();
      auto model = fabric.setup(net);
      const Tensor output = model(torch::ones({1, 2}));
      CHECK((net->layer->weight.scalar_type() == torch::kFloat));
      CHECK((net->computed == dtype));
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
    for (const char* precision : {"64-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true"}) {
      fabric::Fabric fabric({.precision = std::string(precision)});
      auto model = fabric.setup(std::make_shared<ProbeImpl>());
      CHECK_THROWS(model->fail());
      CHECK(!at::autocast::is_autocast_enabled(at::kCPU));
      CHECK((torch::get_default_dtype() == caffe2::TypeMeta::Make<float>()));
      CHECK_THROWS(model->fail());  // and the model is still callable
    }
  }
}
