// The parameter key's fallback is there when something needs it, whatever a linker drops.
#include <doctest/doctest.h>

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/torch.h>

#include <fabric/fabric.h>
#include <strategies/flat/parameter_use.h>

namespace {

bool registered() {
  return c10::Dispatcher::singleton().hasBackendFallbackForDispatchKey(fabric::kParameterKey);
}

}  // namespace

TEST_SUITE("strategies.parameter_use") {
  // In a process of its own, as ctest runs each file: other tests set models up.
  TEST_CASE("setup registers the fallback, not a static object") {
    const torch::nn::Linear plain(2, 2);
    CHECK(!registered());
    CHECK(!plain->weight.key_set().has(fabric::kParameterKey));
    fabric::Fabric fabric({.accelerator = "cpu", .strategy = "fsdp", .devices = 1});
    torch::nn::Linear net(2, 2);
    auto model = fabric.setup(net);
    CHECK(registered());
    CHECK(net->weight.key_set().has(fabric::kParameterKey));
    CHECK(model->forward(torch::ones({1, 2})).sizes() == at::IntArrayRef({1, 2}));
  }

  TEST_CASE("what the engine makes is no part of a graph, in any mode of the caller") {
    for (const bool inference : {false, true}) {
      const c10::InferenceMode mode(inference);
      const fabric::EngineScope scope;
      CHECK(!at::GradMode::is_enabled());
      CHECK(!torch::ones(1).is_inference());
      CHECK(!(torch::ones(1).requires_grad_() * 2).requires_grad());
    }
    CHECK(at::GradMode::is_enabled());
  }
}
