// Channels-last: what setup and routed calls bring to it, and that training is the same with it.
#include <doctest/doctest.h>

#include <torch/torch.h>

#include <fabric/fabric.h>

#include <tests/support/training.h>

namespace {

using torch::Tensor;
constexpr auto kLast = torch::MemoryFormat::ChannelsLast;
constexpr auto kLast3d = torch::MemoryFormat::ChannelsLast3d;
const fabric::SetupOptions kChannelsLast{.memory_format = "channels_last"};

// Images and volumes: (N, 3, 6, 6) and (N, 3, 4, 4, 4) to (N, 4).
struct ConvNetImpl : torch::nn::Module {
  ConvNetImpl()
      : image(register_module("image", torch::nn::Conv2d(3, 8, 3))),
        norm(register_module("norm", torch::nn::BatchNorm2d(8))),
        volume(register_module("volume", torch::nn::Conv3d(3, 8, 3))),
        head(register_module("head", torch::nn::Linear(8, 4))),
        shift(register_buffer("shift", torch::arange(24.0).view({1, 2, 3, 4}))) {}
  Tensor forward(Tensor x) {
    seen = x;
    x = x.dim() == 5 ? volume(x).mean({2, 3, 4}) : norm(image(x)).mean({2, 3});
    return head(x);
  }
  Tensor flat(Tensor x) {
    seen = x;
    return x;
  }
  torch::nn::Conv2d image;
  torch::nn::BatchNorm2d norm;
  torch::nn::Conv3d volume;
  torch::nn::Linear head;
  Tensor shift, seen;
};
TORCH_MODULE(ConvNet);

ConvNet double_net() {
  return support::with_seed(1, [] {
    ConvNet net;
    net->to(torch::kDouble);
    return net;
  });
}

// Whether `tensor` has the format and could be told from a contiguous one.
bool is_last(const Tensor& tensor, torch::MemoryFormat format = kLast) {
  return tensor.is_contiguous(format) && !tensor.is_contiguous();
}

template <class Optimizer, class Options>
void check_training(const fabric::StrategyChoice& strategy, const Options& options) {
  ConvNet reference = double_net();
  Optimizer reference_optimizer(reference->parameters(), options);
  fabric::Fabric fabric({.strategy = strategy});
  fabric.launch();
  ConvNet net = double_net();
  auto model = fabric.setup(net, kChannelsLast);
  auto optimizer = fabric.setup_optimizers(Optimizer(net->parameters(), options));
  torch::manual_seed(3);
  for (int step = 0; step < 4; ++step) {
    const Tensor images = torch::randn({2, 3, 6, 6}, torch::kDouble);
    const Tensor volumes = torch::randn({2, 3, 4, 4, 4}, torch::kDouble);
    reference_optimizer.zero_grad();
    (reference->forward(images) * reference->forward(volumes)).square().mean().backward();
    reference_optimizer.step();
    optimizer.zero_grad();
    fabric.backward((model->forward(images) * model->forward(volumes)).square().mean());
    CHECK(net->image->weight.grad().defined());
    optimizer.step();
    // AdamW divides the gradient of a bias before BatchNorm, all rounding, by nearly as little.
    CHECK(support::distance(net->parameters(), reference->parameters()) < 1e-10);
  }
  CHECK(is_last(net->image->weight));
  CHECK(is_last(net->volume->weight, kLast3d));
}

}  // namespace

TEST_SUITE("fabric.memory_format") {
  TEST_CASE("setup converts parameters and buffers of images and volumes, in place") {
    fabric::Fabric fabric({.precision = "64-true"});
    ConvNet net;
    const Tensor weight = net->image->weight, shift = net->shift, values = weight.clone();
    auto model = fabric.setup(net, kChannelsLast);
    CHECK(net->image->weight.is_same(weight));
    CHECK(torch::equal(weight, values.to(torch::kDouble)));
    CHECK(weight.requires_grad());
    CHECK(is_last(weight));
    CHECK(is_last(shift));
    CHECK(is_last(net->volume->weight, kLast3d));
    CHECK(net->head->weight.is_contiguous());
    ConvNet plain;
    fabric.setup(plain);
    CHECK(plain->image->weight.is_contiguous());
  }

  TEST_CASE("inputs of every routed call are converted by their dimensions") {
    fabric::Fabric fabric;
    ConvNet net;
    auto model = fabric.setup(net, kChannelsLast);
    auto flat = model->register_forward_method(&ConvNetImpl::flat);
    const Tensor images = torch::rand({2, 3, 6, 6});
    const Tensor output = model->forward(images);
    CHECK(is_last(net->seen));
    CHECK(torch::equal(net->seen, images));
    CHECK(torch::allclose(net->forward(images), output, 1e-4, 1e-5));
    CHECK(net->seen.is_same(images));  // the user's own call
    flat(torch::rand({2, 3, 4, 4, 4}));
    CHECK(is_last(net->seen, kLast3d));
    flat(images.mul(255).to(torch::kByte));
    CHECK(is_last(net->seen));
    for (const Tensor& other : {torch::rand({2, 3, 6}), torch::rand({2, 3}), torch::rand({})}) {
      flat(other);
      CHECK(net->seen.is_same(other));
    }
    flat(torch::rand({2, 3, 6, 6}).to_sparse());
    CHECK(net->seen.is_sparse());
  }

  TEST_CASE("training is that of contiguous models, under every strategy and kind of optimizer") {
    for (const fabric::StrategyChoice& strategy :
         {fabric::StrategyChoice("single_device"), fabric::StrategyChoice("ddp"),
          fabric::StrategyChoice("fsdp"),
          fabric::StrategyChoice(fabric::FSDPOptions{.units = {"Conv2d", "Conv3d"}})}) {
      CAPTURE(strategy.to_text());
      check_training<torch::optim::SGD>(strategy, torch::optim::SGDOptions(0.05).momentum(0.9));
      check_training<torch::optim::AdamW>(strategy, torch::optim::AdamWOptions(0.01));
      check_training<fabric::FusedAdamW>(strategy, fabric::FusedAdamWOptions(0.01));
    }
  }

  TEST_CASE("models without memory get it with their values") {
    for (const std::string strategy : {"single_device", "fsdp"}) {
      CAPTURE(strategy);
      fabric::Fabric fabric({.strategy = strategy});
      fabric.launch();
      const auto build = [&] {
        torch::manual_seed(4);
        return fabric.init_module([] { return ConvNet(); }, {.empty_init = true});
      };
      ConvNet net = build(), plain = build();
      auto model = fabric.setup(net, kChannelsLast);
      auto other = fabric.setup(plain);
      CHECK(is_last(net->image->weight));
      CHECK(is_last(net->shift));
      CHECK(support::distance(net->parameters(), plain->parameters()) == 0);
      fabric.backward(model->forward(torch::rand({2, 3, 6, 6})).sum());
      CHECK(net->image->weight.grad().defined());
    }
  }

  TEST_CASE("an unknown format is refused") {
    CHECK_THROWS_WITH_AS(fabric::MemoryFormatChoice(std::string("nhwc")),
                         doctest::Contains("unknown memory format; got 'nhwc'; expected preserve"),
                         fabric::MisconfigurationError);
  }
}
