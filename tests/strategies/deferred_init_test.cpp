// Modules that are built without memory: every kind of layer gets the values that its constructor
// says, once, wherever and in whatever order they are made.
#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <vector>

#include <torch/torch.h>

#include <accelerators/error.h>
#include <strategies/deferred/tape.h>
#include <strategies/deferred_init.h>
#include <strategies/flat/parameter_use.h>

#include <tests/support/counted_memory.h>

namespace {

using fabric::DeferredInit;
using fabric::is_deferred;
using fabric::materialise;
using fabric::MisconfigurationError;
using torch::Tensor;

constexpr std::int64_t kSmall = 1 << 16;  // bytes of what a build may take

using Module = std::shared_ptr<torch::nn::Module>;
using Build = std::function<Module()>;

template <class Holder>
Module shared(Holder holder) {
  return holder.ptr();
}

std::vector<Tensor> tensors_of(torch::nn::Module& module) {
  std::vector<Tensor> list = module.parameters();
  for (const Tensor& buffer : module.buffers()) {
    list.push_back(buffer);
  }
  return list;
}

Module deferred(const Build& build, int64_t seed = 1) {
  torch::manual_seed(seed);
  const DeferredInit building;
  return build();
}

Module made(const Build& build, int64_t seed = 1) {
  Module module = deferred(build, seed);
  materialise(tensors_of(*module), torch::kCPU);
  return module;
}

void check_equal(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    CHECK(torch::equal(a[i], b[i]));
  }
}

// The same shape, and values of the same distribution: equal where they are constant.
void check_alike(const std::string& name, const Tensor& actual, const Tensor& expected) {
  CAPTURE(name);
  CHECK(actual.sizes() == expected.sizes());
  CHECK(actual.strides() == expected.strides());
  CHECK((actual.scalar_type() == expected.scalar_type()));
  CHECK(actual.requires_grad() == expected.requires_grad());
  CHECK(actual.is_leaf());
  CHECK(actual.device().is_cpu());
  const Tensor a = actual.detach().to(torch::kDouble);
  const Tensor b = expected.detach().to(torch::kDouble);
  if (b.numel() < 2 || (b.max() - b.min()).item<double>() == 0) {
    CHECK(torch::equal(a, b));
    return;
  }
  const double spread = b.std().item<double>();
  const double size = static_cast<double>(b.numel());
  CHECK(std::abs((a.mean() - b.mean()).item<double>()) < 8 * spread / std::sqrt(size));
  CHECK(a.std().item<double>() == doctest::Approx(spread).epsilon(8 / std::sqrt(size)));
  CHECK(a.abs().max().item<double>() < 1.5 * b.abs().max().item<double>());
}

struct CustomImpl : torch::nn::Module {
  CustomImpl() {
    scaled = register_parameter("scaled", 0.1 * torch::randn({64, 65}));
    shifted = register_parameter("shifted", torch::ones({64}).mul_(2).add(1));
    listed = register_parameter("listed", torch::tensor({1.5, -2.0, 3.0}));
    nested = register_parameter("nested", torch::tensor({{1, 2}, {3, 4}}, torch::kFloat));
    frozen = register_parameter("frozen", torch::full({3}, 7.0), /*requires_grad=*/false);
    transposed = register_parameter("transposed", torch::empty({40, 50}).t());
    torch::nn::init::orthogonal_(transposed);
    {
      const torch::NoGradGuard no_grad;
      scaled.narrow(0, 0, 2).zero_();
      scaled.select(1, 3).fill_(0.5);
      scaled.index_put_({4, torch::indexing::Slice(0, 10)}, -1.0);
      scaled.index_put_({torch::tensor({5, 6})}, torch::tensor(0.25));
      shifted.copy_(torch::arange(64, torch::kCPU));
      shifted[0] = 9;
    }
    eye = register_parameter("eye", torch::nn::init::eye_(torch::empty({5, 5})));
    dirac = register_parameter("dirac", torch::nn::init::dirac_(torch::empty({4, 4, 3})));
    positions = register_buffer("positions", torch::arange(10).unsqueeze(0));
    mask = register_buffer("mask", torch::ones({4, 4}).triu(1).to(torch::kBool));
    angles = register_buffer("angles", 1.0 / torch::pow(100, torch::arange(0, 8, 2) / 8.0));
    kept = register_parameter("kept", angles.clone().index_select(0, torch::tensor({3, 1})));
  }
  Tensor scaled, shifted, listed, nested, frozen, transposed, eye, dirac;
  Tensor positions, mask, angles, kept;
};
TORCH_MODULE(Custom);

namespace nn = torch::nn;

const std::vector<std::pair<std::string, Build>>& kinds() {
  static const std::vector<std::pair<std::string, Build>> list = {
      {"Linear", [] { return shared(nn::Linear(70, 60)); }},
      {"Bilinear", [] { return shared(nn::Bilinear(20, 30, 40)); }},
      {"Conv1d", [] { return shared(nn::Conv1d(20, 30, 5)); }},
      {"Conv2d", [] { return shared(nn::Conv2d(nn::Conv2dOptions(16, 24, 3).groups(4))); }},
      {"ConvTranspose2d", [] { return shared(nn::ConvTranspose2d(12, 20, 3)); }},
      {"Conv3d", [] { return shared(nn::Conv3d(6, 8, 3)); }},
      {"BatchNorm2d", [] { return shared(nn::BatchNorm2d(33)); }},
      {"InstanceNorm1d",
       [] { return shared(nn::InstanceNorm1d(nn::InstanceNorm1dOptions(9).affine(true))); }},
      {"LayerNorm",
       [] {
         return shared(nn::LayerNorm(nn::LayerNormOptions({7, 9})));
       }},
      {"GroupNorm", [] { return shared(nn::GroupNorm(nn::GroupNormOptions(2, 10))); }},
      {"Embedding", [] { return shared(nn::Embedding(nn::EmbeddingOptions(90, 20))); }},
      {"EmbeddingBag", [] { return shared(nn::EmbeddingBag(90, 20)); }},
      {"PReLU", [] { return shared(nn::PReLU(nn::PReLUOptions().num_parameters(4).init(0.3))); }},
      {"RNN", [] { return shared(nn::RNN(20, 30)); }},
      {"LSTM",
       [] { return shared(nn::LSTM(nn::LSTMOptions(20, 30).num_layers(2).bidirectional(true))); }},
      {"GRU", [] { return shared(nn::GRU(nn::GRUOptions(20, 30).num_layers(2))); }},
      {"LSTMCell", [] { return shared(nn::LSTMCell(20, 30)); }},
      {"GRUCell", [] { return shared(nn::GRUCell(20, 30)); }},
      {"MultiheadAttention",
       [] {
         return shared(nn::MultiheadAttention(
             nn::MultiheadAttentionOptions(32, 4).add_bias_kv(true).kdim(16).vdim(24)));
       }},
      {"Transformer",
       [] {
         return shared(nn::Transformer(nn::TransformerOptions(32, 4)
                                           .num_encoder_layers(2)
                                           .num_decoder_layers(2)
                                           .dim_feedforward(48)));
       }},
      {"AdaptiveLogSoftmax",
       [] {
         return shared(nn::AdaptiveLogSoftmaxWithLoss(
             nn::AdaptiveLogSoftmaxWithLossOptions(32, 100, {20, 50})));
       }},
      {"Sequential",
       [] {
         return shared(nn::Sequential(nn::Conv2d(8, 8, 3), nn::BatchNorm2d(8), nn::ReLU(),
                                      nn::Flatten(), nn::Linear(72, 30)));
       }},
      {"Custom", [] { return shared(Custom()); }},
  };
  return list;
}

// What one rank would have that materialises one parameter after the other, backwards.
std::vector<Tensor> made_backwards(const Build& build) {
  Module module = deferred(build);
  std::vector<Tensor> list = tensors_of(*module);
  for (auto tensor = list.rbegin(); tensor != list.rend(); ++tensor) {
    materialise({*tensor}, torch::kCPU);
  }
  return list;
}

}  // namespace

TEST_SUITE("strategies.deferred_init") {
  TEST_CASE("every kind of layer gets the values of its constructor") {
    for (const auto& [name, build] : kinds()) {
      CAPTURE(name);
      torch::manual_seed(2);
      const Module eager = build();
      const Module module = deferred(build);
      for (const Tensor& tensor : tensors_of(*module)) {
        CHECK(is_deferred(tensor) != (name == "Custom" && tensor.is_cpu()));
      }
      materialise(tensors_of(*module), torch::kCPU);
      const auto parameters = module->named_parameters();
      const auto expected = eager->named_parameters();
      REQUIRE(parameters.size() == expected.size());
      for (const auto& item : expected) {
        check_alike(item.key(), parameters[item.key()], item.value());
      }
      for (const auto& item : eager->named_buffers()) {
        check_alike(item.key(), module->named_buffers()[item.key()], item.value());
      }
      check_equal(tensors_of(*made(build)), tensors_of(*module));  // the same seed
      check_equal(made_backwards(build), tensors_of(*module));     // another order
    }
    CHECK(fabric::Tape::alive() == 0);
  }

  TEST_CASE("values depend on the seed, and differ between parameters") {
    const Build build = [] { return shared(nn::Sequential(nn::Linear(9, 9), nn::Linear(9, 9))); };
    const auto first = made(build, 1)->parameters();
    const auto second = made(build, 2)->parameters();
    CHECK_FALSE(torch::equal(first[0], second[0]));
    CHECK_FALSE(torch::equal(first[0], first[2]));
    torch::manual_seed(5);
    const auto next = [&] {
      const DeferredInit building;
      return build();
    };
    const Module a = next();
    const Module b = next();
    materialise(tensors_of(*a), torch::kCPU);
    materialise(tensors_of(*b), torch::kCPU);
    CHECK_FALSE(torch::equal(a->parameters()[0], b->parameters()[0]));
  }

  TEST_CASE("the program's random numbers do not move when values are made") {
    Module module = deferred([] { return shared(nn::Linear(50, 50)); });
    torch::manual_seed(3);
    const Tensor expected = torch::randn({5});
    torch::manual_seed(3);
    materialise(module->parameters(), torch::kCPU);
    CHECK(torch::equal(torch::randn({5}), expected));
  }

  TEST_CASE("a generator of the program's own counts") {
    const auto draw = [](std::uint64_t seed) {
      return made([seed] {
               auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
               nn::Linear layer(4, 4);
               const torch::NoGradGuard no_grad;
               layer->weight.normal_(0, 1, generator);
               return shared(layer);
             })
          ->parameters()[0];
    };
    CHECK(torch::equal(draw(1), draw(1)));
    CHECK_FALSE(torch::equal(draw(1), draw(2)));
  }

  TEST_CASE("a padding row is zero") {
    const auto weight = made([] {
                          return shared(nn::Embedding(nn::EmbeddingOptions(9, 5).padding_idx(3)));
                        })->parameters()[0];
    CHECK(weight[3].abs().sum().item<double>() == 0);
    CHECK(weight[2].abs().sum().item<double>() > 0);
  }

  TEST_CASE("exact values are exact") {
    const auto custom =
        std::dynamic_pointer_cast<CustomImpl>(made([] { return shared(Custom()); }));
    CHECK(custom->scaled.narrow(0, 0, 2).narrow(1, 4, 60).abs().sum().item<double>() == 0);
    CHECK(torch::all(custom->scaled.select(1, 3).narrow(0, 7, 50) == 0.5).item<bool>());
    CHECK(torch::all(custom->scaled[4].narrow(0, 0, 10) == -1).item<bool>());
    CHECK(torch::all(custom->scaled[6] == 0.25).item<bool>());
    CHECK(custom->shifted[0].item<double>() == 9);
    CHECK(custom->shifted[63].item<double>() == 63);
    CHECK(custom->listed[1].item<double>() == -2);
    CHECK(custom->nested[1][0].item<double>() == 3);
    CHECK(custom->mask[0][3].item<bool>());
    CHECK(torch::equal(custom->kept, custom->angles.index_select(0, torch::tensor({3, 1}))));
    const Tensor product = custom->transposed.t().mm(custom->transposed);
    CHECK(torch::allclose(product, torch::eye(product.size(0)), 1e-4, 1e-5));
  }

  TEST_CASE("a build takes no memory, and values only their own") {
    const support::CountedMemory memory;
    Module module = deferred([] {
      nn::Sequential list;
      for (int i = 0; i < 6; ++i) {
        list->push_back(nn::Linear(nn::LinearOptions(512, 512).bias(false)));  // 1 MiB each
      }
      list->push_back(nn::LSTM(nn::LSTMOptions(256, 256).num_layers(2)));
      list->push_back(nn::Embedding(4000, 256));
      return shared(list);
    });
    CHECK(memory.peak() < kSmall);
    materialise({module->parameters()[2]}, torch::kCPU);
    CHECK(memory.peak() < (1 << 20) + kSmall);
    CHECK(memory.live() >= 1 << 20);
    module.reset();
    CHECK(memory.live() < kSmall);
    CHECK(fabric::Tape::alive() == 0);
  }

  TEST_CASE("what a parameter is computed from goes as soon as it can") {
    const support::CountedMemory memory;
    Module module = deferred([] {
      auto holder = std::make_shared<nn::Module>();
      Tensor value = torch::randn({512, 512});
      for (int i = 0; i < 10; ++i) {
        value = value * 0.5 + 1;  // two temporaries a turn
      }
      holder->register_parameter("value", value);
      return holder;
    });
    materialise(module->parameters(), torch::kCPU);
    CHECK(memory.peak() < 3 * (1 << 20) + kSmall);
    CHECK(memory.live() < (1 << 20) + kSmall);
    const Tensor value = module->parameters()[0];
    CHECK(value.mean().item<double>() == doctest::Approx(2 - 1 / 512.0).epsilon(0.01));
  }

  TEST_CASE("an operator of later in the build does not reach what was read before") {
    auto module = deferred([] {
      auto holder = std::make_shared<nn::Module>();
      Tensor source = torch::ones({3});
      Tensor read = torch::empty({3});
      read.copy_(source);
      source.mul_(5);
      Tensor later = source.clone();
      read.add_(later);
      holder->register_parameter("read", read);
      holder->register_parameter("source", source);
      holder->register_parameter("later", later);
      return holder;
    });
    materialise({module->parameters()[0]}, torch::kCPU);
    CHECK(module->parameters()[0][1].item<double>() == 6);
    materialise(module->parameters(), torch::kCPU);
    CHECK(module->parameters()[1][1].item<double>() == 5);
    CHECK(module->parameters()[2][1].item<double>() == 5);
  }

  TEST_CASE("tensors that share memory share it again") {
    struct Tied : nn::Module {
      Tied()
          : embedding(register_module("embedding", nn::Embedding(8, 4))),
            head(register_module("head", nn::Linear(nn::LinearOptions(4, 8).bias(false)))) {
        head->weight = embedding->weight;
        head->register_module("again", embedding);
        part = register_buffer("part", embedding->weight.detach().narrow(0, 2, 3));
      }
      nn::Embedding embedding;
      nn::Linear head;
      Tensor part;
    };
    Module module = deferred([] { return std::make_shared<Tied>(); });
    auto& tied = static_cast<Tied&>(*module);
    materialise(tensors_of(*module), torch::kCPU);
    CHECK(tied.head->weight.is_same(tied.embedding->weight));
    CHECK(tied.part.is_alias_of(tied.embedding->weight));
    {
      const torch::NoGradGuard no_grad;
      tied.embedding->weight[3].fill_(42);
    }
    CHECK(tied.part[1][0].item<double>() == 42);
  }

  TEST_CASE("identity, gradients, hooks and optimizers stay") {
    Module module = deferred([] { return shared(nn::Linear(3, 2)); });
    auto& layer = static_cast<nn::LinearImpl&>(*module);
    const auto* impl = layer.weight.unsafeGetTensorImpl();
    const Tensor handle = layer.weight;
    torch::optim::SGD optimizer(module->parameters(), torch::optim::SGDOptions(0.5).momentum(0.9));
    int seen = 0;
    layer.weight.register_hook([&](const Tensor& gradient) { seen += gradient.is_cpu(); });
    const Tensor loss = layer.forward(torch::ones({4, 3}, torch::kMeta)).sum();
    loss.backward();  // an accumulator and a gradient on meta
    CHECK(layer.weight.grad().is_meta());
    const Tensor kept_graph = layer.weight * 2;
    materialise(module->parameters(), torch::kCPU);
    CHECK(layer.weight.unsafeGetTensorImpl() == impl);
    CHECK(handle.device().is_cpu());
    CHECK_FALSE(layer.weight.grad().defined());
    const Tensor before = layer.weight.detach().clone();
    optimizer.zero_grad();
    layer.forward(torch::ones({4, 3})).sum().backward();
    CHECK(seen == 1);
    CHECK(layer.weight.grad().device().is_cpu());
    optimizer.step();
    CHECK(torch::allclose(layer.weight.detach(), before - 2));
    CHECK(torch::autograd::grad({layer.forward(torch::ones({1, 3})).sum()}, {layer.weight})[0]
              .device()
              .is_cpu());
  }

  TEST_CASE("work on parameters between building and making counts") {
    Module module = deferred([] { return shared(nn::Linear(30, 20)); });
    auto& layer = static_cast<nn::LinearImpl&>(*module);
    fabric::keep_recording(module->parameters());
    torch::nn::init::ones_(layer.bias);
    {
      const torch::NoGradGuard no_grad;
      layer.weight.narrow(0, 0, 5).copy_(torch::full({5, 30}, 3.0));
      layer.weight[7].mul_(0);
    }
    module->to(torch::kDouble);
    const Tensor output = layer.forward(torch::ones({2, 30}, torch::kMeta).to(torch::kDouble));
    CHECK(output.is_meta());
    CHECK(output.sizes() == torch::IntArrayRef({2, 20}));
    materialise(module->parameters(), torch::kCPU);
    CHECK((layer.weight.scalar_type() == torch::kDouble));
    CHECK(torch::all(layer.bias == 1).item<bool>());
    CHECK(torch::all(layer.weight.narrow(0, 0, 5) == 3).item<bool>());
    CHECK(layer.weight[7].abs().max().item<double>() == 0);
    CHECK(layer.weight[8].abs().min().item<double>() > 0);
  }

  TEST_CASE("the default dtype of the build counts") {
    Module module = deferred([] {
      torch::set_default_dtype(caffe2::TypeMeta::Make<double>());
      Module built = shared(nn::Linear(3, 2));
      built->register_buffer("steps", torch::linspace(0, 1, 3) + torch::arange(3));
      torch::set_default_dtype(caffe2::TypeMeta::Make<float>());
      return built;
    });
    materialise(tensors_of(*module), torch::kCPU);
    for (const Tensor& tensor : tensors_of(*module)) {
      CHECK((tensor.scalar_type() == torch::kDouble));
    }
    CHECK(module->buffers()[0][1].item<double>() == 1.5);
  }

  TEST_CASE("tensors with a device are real in a build") {
    auto table = torch::arange(6, torch::kFloat);
    Module module = deferred([&] {
      auto holder = std::make_shared<nn::Module>();
      const Tensor real = torch::rand({3}, torch::kCPU);
      CHECK(real.sum().item<double>() > 0);
      holder->register_parameter("real", real);
      // The same tensor where it is already there: the parameter must be one of its own.
      const Tensor moved = table.to(torch::kMeta);
      holder->register_buffer("twice", moved * 2);
      holder->register_parameter("moved", moved);
      return holder;
    });
    CHECK_FALSE(is_deferred(module->parameters()[0]));
    table.add_(1);  // small constants are copied
    materialise(module->parameters(), torch::kCPU);
    CHECK(module->parameters()[1][5].item<double>() == 5);
    module->parameters()[1].detach().fill_(100);
    materialise(module->buffers(), torch::kCPU);
    CHECK(module->buffers()[0][5].item<double>() == 10);
  }

  TEST_CASE("tensors with and without a device are mixed as on one device") {
    Module module = deferred([] {
      const torch::NoGradGuard no_grad;
      auto holder = std::make_shared<nn::Module>();
      const Tensor real = torch::tensor({1.0, 2.0, 3.0});
      CHECK(real.sum().item<double>() == 6);
      const Tensor order = torch::randperm(3);  // which LibTorch cannot do on meta
      const Tensor sum =
          real * torch::ones({3}) + torch::cat({torch::zeros({1}), real.slice(0, 1)});
      holder->register_parameter("sum", sum);
      holder->register_parameter("taken", sum.index_select(0, torch::tensor({2, 0})));
      holder->register_parameter("indexed", sum.index({torch::tensor({1, 1})}));
      holder->register_parameter("shuffled", sum.index({order}));
      holder->register_buffer("order", order);
      holder->register_buffer("placed", torch::randperm(4, sum.options().dtype(torch::kLong)));
      real.fill_(100);
      CHECK_THROWS_AS(torch::zeros({3}, torch::kCPU).add_(sum), std::exception);
      return holder;
    });
    materialise(tensors_of(*module), torch::kCPU);
    CHECK(torch::equal(module->parameters()[0], torch::tensor({1.0, 4.0, 6.0})));
    CHECK(torch::equal(module->parameters()[1], torch::tensor({6.0, 1.0})));
    CHECK(torch::equal(module->parameters()[2], torch::tensor({4.0, 4.0})));
    CHECK(torch::equal(module->parameters()[3],
                       module->parameters()[0].index({module->buffers()[0]})));
    CHECK(torch::equal(std::get<0>(module->buffers()[1].sort()), torch::arange(4)));
  }

  TEST_CASE("operators that LibTorch cannot run on meta run all the same") {
    Module module = deferred([] {
      auto holder = std::make_shared<nn::Module>();
      const Tensor row = torch::arange(6.0);
      CHECK(is_deferred(row));
      holder->register_buffer("rolled", row.roll(1));
      holder->register_buffer("flipped", row.flip({0}));
      holder->register_buffer("sorted", std::get<0>(row.neg().sort()));
      holder->register_buffer("cosines", torch::fft::rfft(row).abs());
      holder->register_buffer("low", torch::tril_indices(3, 3).clone());
      return holder;
    });
    materialise(module->buffers(), torch::kCPU);
    const auto buffers = module->named_buffers();
    const Tensor row = torch::arange(6.0);
    CHECK(torch::equal(buffers["rolled"], row.roll(1)));
    CHECK(torch::equal(buffers["flipped"], row.flip({0})));
    CHECK(torch::equal(buffers["sorted"], row.neg().flip({0})));
    CHECK(torch::allclose(buffers["cosines"], torch::fft::rfft(row).abs()));
    CHECK(torch::equal(buffers["low"], torch::tril_indices(3, 3)));
  }

  TEST_CASE("a shape that turns out to depend on values is refused") {
    Module module = deferred([] {
      auto holder = std::make_shared<nn::Module>();
      // Not tagged as such by LibTorch.
      holder->register_buffer("unique", std::get<0>(at::_unique(torch::arange(5))));
      return holder;
    });
    CHECK_THROWS_WITH_AS(materialise(module->buffers(), torch::kCPU),
                         doctest::Contains("depends on values"), MisconfigurationError);
  }

  TEST_CASE("scopes nest, end by exceptions, and leave nothing on") {
    {
      const DeferredInit outer;
      { const DeferredInit inner; }
      CHECK(is_deferred(torch::zeros({1})));
    }
    CHECK_FALSE(is_deferred(torch::zeros({1})));
    {
      const fabric::RoutedScope call;  // which turns the key off, unless a strategy needs it
      const auto excluded = [] {
        return c10::impl::tls_is_dispatch_key_excluded(fabric::kParameterKey);
      };
      const bool before = excluded();
      {
        const DeferredInit building;
        CHECK(is_deferred(torch::zeros({1})));
      }
      CHECK(excluded() == before);
    }
    CHECK_FALSE(c10::impl::tls_is_dispatch_key_included(fabric::kParameterKey));
    CHECK_THROWS_AS(deferred([]() -> Module { throw std::runtime_error("on purpose"); }),
                    std::runtime_error);
    CHECK(torch::zeros({1}).device().is_cpu());
    CHECK(fabric::Tape::alive() == 0);
  }

  TEST_CASE("what needs values says so") {
    const DeferredInit building;
    const Tensor value = torch::randn({3});
    CHECK_THROWS_WITH_AS(value.sum().item<float>(), doctest::Contains("aten::item needs values"),
                         MisconfigurationError);
    CHECK_THROWS_WITH_AS(value.to(torch::kCPU), doctest::Contains("aten::to needs values"),
                         MisconfigurationError);
    CHECK_THROWS_AS((void)torch::equal(value, torch::ones({3})), MisconfigurationError);
    CHECK_THROWS_AS((void)value.data_ptr(), c10::Error);  // raw access, and no null pointer
    CHECK_THROWS_AS(torch::zeros({2}, torch::kCPU).copy_(value.narrow(0, 0, 2)),
                    MisconfigurationError);
    CHECK_THROWS_WITH_AS(torch::nonzero(value), doctest::Contains("aten::nonzero needs values"),
                         MisconfigurationError);
    CHECK_THROWS_AS(torch::multinomial(torch::ones({5}), 2), MisconfigurationError);
    CHECK_THROWS_AS((void)value.is_nonzero(), std::exception);
    // Other mistakes keep LibTorch's text.
    CHECK_THROWS_WITH_AS(value + torch::ones({7}), doctest::Contains("must match"), c10::Error);
    CHECK(torch::ones({3}, torch::kCPU).sum().item<double>() == 3);
  }

  TEST_CASE("tensors of two builds cannot be mixed") {
    Module first = deferred([] { return shared(nn::Linear(3, 3)); });
    const Build mix = [&] {
      nn::Linear second(3, 3);
      const torch::NoGradGuard no_grad;
      second->weight.copy_(first->parameters()[0]);
      return shared(second);
    };
    CHECK_THROWS_WITH_AS(deferred(mix), doctest::Contains("tensors of two modules"),
                         MisconfigurationError);
  }

  TEST_CASE("a large constant that changed is refused") {
    Tensor table = torch::ones({600, 600});
    Module module = deferred([&] {
      auto holder = std::make_shared<nn::Module>();
      const Tensor value = torch::empty({600, 600}).copy_(table);
      holder->register_parameter("value", value);
      return holder;
    });
    table.add_(1);
    CHECK_THROWS_WITH_AS(materialise(module->parameters(), torch::kCPU),
                         doctest::Contains("was changed in place before setup"),
                         MisconfigurationError);
  }
}
