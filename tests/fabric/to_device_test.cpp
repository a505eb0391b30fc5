#include <doctest/doctest.h>

#include <fabric/to_device.h>
#include <torch/nn.h>
#include <torch/script.h>
#include <torch/types.h>

#include <string>

namespace {

// The meta device is present in every build: it shows what was moved.
const c10::Device kMeta(c10::kMeta);
const c10::Device kCpu(c10::kCPU);

struct Batch {
  torch::Tensor image;
  std::optional<torch::Tensor> mask;
  std::vector<std::string> names;
};

// Remembers where it was moved: LibTorch cannot move parameters between the CPU and meta in place.
struct NetImpl : torch::nn::Module {
  using torch::nn::Module::to;
  void to(torch::Device device, bool /*non_blocking*/) override { at = device; }
  torch::Tensor forward(torch::Tensor x) { return x; }
  c10::Device at{c10::kCPU};
};
TORCH_MODULE(Net);

struct Training {
  Net net{nullptr};
  std::shared_ptr<NetImpl> other;
  torch::Tensor input;
};

}  // namespace

TEST_SUITE("fabric.to_device") {
  TEST_CASE("moves a tensor, and gives back the same one when it is there") {
    const auto tensor = torch::ones({2});
    CHECK(fabric::to_device(tensor, kMeta).is_meta());
    CHECK(tensor.is_cpu());
    CHECK(fabric::to_device(tensor, kCpu).is_same(tensor));
  }

  TEST_CASE("keeps dtype, requires_grad through autograd, and undefined tensors") {
    const auto half = torch::ones({2}, torch::kHalf);
    CHECK((fabric::to_device(half, kMeta).dtype() == torch::kHalf));
    const auto leaf = torch::ones({2}, torch::requires_grad());
    CHECK(fabric::to_device(leaf, kMeta).requires_grad());
    CHECK(!fabric::to_device(torch::Tensor(), kMeta).defined());
  }

  TEST_CASE("moves the tensors in structures and copies nothing that is there") {
    const Batch batch{torch::ones({2}), torch::ones({1}), {"a"}};
    const auto moved = fabric::to_device(batch, kMeta);
    CHECK(moved.image.is_meta());
    CHECK(moved.mask->is_meta());
    CHECK(moved.names == batch.names);
    const auto kept = fabric::to_device(batch, kCpu);
    CHECK(kept.image.is_same(batch.image));
    const std::vector<torch::data::Example<>> examples{{batch.image, batch.image}};
    CHECK(fabric::to_device(examples, kMeta)[0].target.is_meta());
    const std::map<std::string, torch::Tensor> named{{"x", batch.image}};
    CHECK(fabric::to_device(named, kMeta).at("x").is_meta());
  }

  TEST_CASE("moves modules in place, in every form") {
    NetImpl on_stack;
    CHECK(&fabric::to_device(on_stack, kMeta) == &on_stack);
    CHECK((on_stack.at == kMeta));

    Net holder;
    CHECK(fabric::to_device(holder, kMeta).get() == holder.get());
    CHECK((holder->at == kMeta));

    auto pointer = std::make_shared<NetImpl>();
    fabric::to_device(pointer, kMeta);
    CHECK((pointer->at == kMeta));

    Net child;
    torch::nn::Sequential sequential(child);
    fabric::to_device(sequential, kMeta);
    CHECK((child->at == kMeta));

    torch::nn::Linear linear(2, 2);
    const auto weight = linear->weight;
    fabric::to_device(linear, kCpu);
    CHECK(linear->weight.is_same(weight));

    torch::jit::Module scripted("scripted");
    scripted.register_parameter("weight", torch::ones({2}), /*is_buffer=*/false);
    fabric::to_device(scripted, kCpu);
    CHECK(scripted.attr("weight").toTensor().is_cpu());
  }

  TEST_CASE("modules inside structures move too, empty ones are left alone") {
    const Training training{Net(), nullptr, torch::ones({1})};
    const auto moved = fabric::to_device(training, kMeta);
    CHECK((moved.net->at == kMeta));
    CHECK(moved.input.is_meta());
    CHECK(!moved.other);
  }
}
