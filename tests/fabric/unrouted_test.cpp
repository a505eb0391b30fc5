// Uses outside routed calls: what the guard says, when it throws, and when it must be silent.
#include <doctest/doctest.h>

#include <sstream>
#include <thread>

#include <ATen/autocast_mode.h>
#include <torch/script.h>
#include <torch/torch.h>

#include <fabric/fabric.h>
#include <strategies/registry.h>

#include <tests/support/captured_log.h>
#include <tests/support/training.h>

namespace {

using support::CapturedLog;
using support::MLP;
using torch::Tensor;

const Tensor kInput = torch::ones({2, 6});

// All that a training program does to a model besides using it under gradients.
void read_and_maintain(fabric::Fabric& fabric, MLP& net) {
  {
    const torch::NoGradGuard no_grad;
    net->first->weight.norm();
    net->forward(kInput);
    for (const Tensor& parameter : net->parameters()) {
      parameter.mul_(0.9).add_(parameter, 0.1);  // as EMA does
    }
    torch::nn::init::xavier_uniform_(net->first->weight);
  }
  net->first->weight.detach().norm();
  net->first->weight.data().norm();
  net->first->weight.toString();
  torch::zeros_like(net->first->weight);
  torch::isfinite(net->first->weight).all();
  std::stringstream file;
  torch::save(net, file);
  torch::load(net, file);
  net->first->clone();
  for (const Tensor& parameter : net->parameters()) {
    parameter.mutable_grad() = torch::ones_like(parameter);
  }
  torch::nn::utils::clip_grad_norm_(net->parameters(), 1.0);
  torch::optim::AdamW raw(net->parameters(), 1e-3);
  raw.step();
  auto optimizer = fabric.setup_optimizers(torch::optim::SGD(net->parameters(), 0.1));
  optimizer.step();
  optimizer.zero_grad();
}

}  // namespace

TEST_SUITE("fabric.unrouted") {
  TEST_CASE("a use that skips mixed precision is warned of once, when its gradient flows") {
    fabric::Fabric fabric({.precision = "bf16-mixed"});
    MLP net;
    auto model = fabric.setup(net);
    CapturedLog log;
    net->forward(kInput).sum().item<double>();  // read only
    CHECK(log.text().empty());
    fabric.backward(model->forward(kInput).sum());
    CHECK(log.text().empty());
    fabric.backward(net->second->forward(torch::ones({1, 16})).sum());
    const std::string text = log.text();
    CHECK(text.find("[fabric.unrouted] MLP was trained outside a routed call: aten::") !=
          std::string::npos);
    CHECK(text.find("used parameter 'second.bias' without bf16-mixed") != std::string::npos);
    CHECK(text.find("FABRIC_INFERENCE_ENTRY(name) or register it") != std::string::npos);
    fabric.backward(net->forward(kInput).sum());
    (net->third->weight.square().sum() + net->forward(kInput).sum()).backward();
    CHECK(log.text() == text);  // once
  }

  TEST_CASE("what skips nothing is not warned of") {
    MLP net;
    SUBCASE("32-true on one device") {
      fabric::Fabric fabric;
      auto model = fabric.setup(net);
      CapturedLog log;
      fabric.backward(net->forward(kInput).sum());
      CHECK(log.text().empty());
      CHECK(!net->first->weight.key_set().has(fabric::kParameterKey));  // costs nothing
    }
    SUBCASE("allow") {
      fabric::Fabric fabric({.precision = "bf16-mixed", .unrouted = "allow"});
      auto model = fabric.setup(net);
      CapturedLog log;
      fabric.backward(net->forward(kInput).sum());
      CHECK(log.text().empty());
    }
    SUBCASE("the user's own autocast") {
      fabric::Fabric fabric({.precision = "bf16-mixed"});
      auto model = fabric.setup(net);
      CapturedLog log;
      at::autocast::set_autocast_enabled(torch::kCPU, true);
      const Tensor loss = net->forward(kInput).sum();
      at::autocast::set_autocast_enabled(torch::kCPU, false);
      at::autocast::clear_cache();
      fabric.backward(loss);
      CHECK(log.text().empty());
    }
    SUBCASE("reads and maintenance") {
      fabric::Fabric fabric({.precision = "bf16-mixed"});
      auto model = fabric.setup(net);
      CapturedLog log;
      read_and_maintain(fabric, net);
      net->first->weight.contiguous();  // returns the parameter itself
      fabric.backward(model->forward(kInput).sum());
      CHECK(log.text().empty());
    }
  }

  TEST_CASE("error throws before the operator runs") {
    fabric::Fabric fabric({.unrouted = "error"});
    MLP net;
    auto model = fabric.setup(net);
    int calls = 0;
    const auto throws = [&](auto&& use) {
      CHECK_THROWS_WITH_AS(use(), doctest::Contains("outside a routed call, which unrouted = "),
                           fabric::RoutingError);
      ++calls;
    };
    throws([&] { net->forward(kInput); });
    throws([&] { net->second->forward(torch::ones({1, 16})); });
    throws([&] { torch::nn::functional::linear(kInput, net->first->weight); });
    throws([&] { return net->first->weight.square().sum(); });
    throws([&] { return torch::cat({net->first->bias, net->second->bias}); });  // in a list
    throws([&] { return net->first->weight.view({-1})[0] + 1; });
    CHECK(calls == 6);
    // In another thread, and in a lambda that outlives the call that made it.
    std::exception_ptr seen;
    std::thread([&] {
      try {
        net->forward(kInput);
      } catch (...) {
        seen = std::current_exception();
      }
    }).join();
    CHECK_THROWS_AS(std::rethrow_exception(seen), fabric::RoutingError);
    auto keep = model.register_forward_method("later", [](support::MLPImpl& module) {
      return std::function<Tensor()>([&module] { return module.forward(kInput); });
    });
    const auto later = keep();
    CHECK_THROWS_AS(later(), fabric::RoutingError);

    // Routed: everything inside, nested, and after an exception.
    fabric.backward(model->forward(kInput).sum());
    fabric.routed([&] { return net->first->weight.square().sum(); }, model).backward();
    CHECK_THROWS_AS(model->forward(torch::ones({1, 2})), c10::Error);
    CHECK_THROWS_AS(net->forward(kInput), fabric::RoutingError);
    read_and_maintain(fabric, net);
    model->to(torch::kFloat);
  }

  TEST_CASE("the guard survives conversions of the module") {
    fabric::Fabric fabric({.unrouted = "error"});
    MLP net;
    auto model = fabric.setup(net);
    {
      const torch::NoGradGuard no_grad;
      net->to(torch::kDouble);
    }
    model->forward(kInput.to(torch::kDouble));
    CHECK_THROWS_AS(net->forward(kInput.to(torch::kDouble)), fabric::RoutingError);
  }

  TEST_CASE("TorchScript models are guarded as well") {
    torch::jit::Module script("Scripted");
    script.register_parameter("weight", torch::ones({2, 2}, torch::requires_grad()), false);
    script.define("def forward(self, x):\n    return torch.matmul(x, self.weight)\n");
    fabric::Fabric fabric({.unrouted = "error"});
    auto model = fabric.setup(script);
    fabric.backward(model(torch::ones({1, 2})).toTensor().sum());
    CHECK_THROWS_WITH(script.forward({torch::ones({1, 2})}),
                      doctest::Contains("parameter 'weight' of Scripted is used by aten::matmul"));
  }

  TEST_CASE("two threads call two models") {
    fabric::Fabric fabric({.precision = "bf16-mixed", .unrouted = "error"});
    MLP nets[2];
    fabric::FabricModule<support::MLPImpl> models[2] = {fabric.setup(nets[0]),
                                                        fabric.setup(nets[1])};
    std::vector<std::thread> threads;
    std::atomic<int> failures{0};
    for (auto& model : models) {
      threads.emplace_back([&] {
        try {
          for (int i = 0; i < 50; ++i) {
            fabric.backward(model->forward(kInput).sum());
          }
        } catch (...) {
          ++failures;
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    CHECK(failures == 0);
  }

  TEST_CASE("the option is read from the environment's texts") {
    CHECK(fabric::UnroutedChoice::from_text("error").is("error"));
    CHECK_THROWS_WITH_AS(
        fabric::UnroutedChoice::from_text("never", "FABRIC_UNROUTED"),
        doctest::Contains("unknown value of unrouted; got 'never' from FABRIC_UNROUTED; expected "
                          "warn, error or allow"),
        fabric::MisconfigurationError);
  }

  TEST_CASE("a strategy that acts in backward refuses loss.backward()") {
    struct Scaling : fabric::Strategy {
      std::string name() const override { return "scaling"; }
      bool acts_in_backward() const override { return true; }
      std::shared_ptr<fabric::ManagedModel> manage(std::string, fabric::ModelTensors) override {
        return std::make_shared<fabric::ManagedModel>();
      }
    };
    static const bool registered = [] {
      fabric::register_strategy("scaling", [](const auto&) { return std::make_unique<Scaling>(); });
      return true;
    }();
    (void)registered;
    fabric::Fabric fabric({.strategy = std::string("scaling")});
    MLP net;
    auto model = fabric.setup(net);
    auto both = model.register_forward_method("both", [](support::MLPImpl& module, Tensor x) {
      return std::map<std::string, Tensor>{{"out", module.forward(x)}, {"input", x}};
    });
    CHECK_THROWS_WITH_AS(
        model->forward(kInput).sum().backward(),
        doctest::Contains("whose strategy or precision must act in backward. Hint: "
                          "fabric.backward(loss)"),
        fabric::RoutingError);
    CHECK_THROWS_AS(both(kInput)["out"].mean().backward(), fabric::RoutingError);
    CHECK(!net->first->weight.grad().defined());
    fabric.backward(both(kInput)["out"].mean());
    CHECK(net->first->weight.grad().defined());
    CHECK_THROWS_AS(model->forward(kInput).sum().backward(), fabric::RoutingError);
    net->forward(kInput).sum().backward();  // no output of a routed call
  }
}
