// Captured steps, on the CPU: as they are, and with a stand-in for a device's graphs that plays the
// recorded function again.
#include <doctest/doctest.h>

#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include <torch/torch.h>

#include <accelerators/registry.h>
#include <fabric/fabric.h>

#include <tests/support/captured_log.h>
#include <tests/support/other_cpu.h>
#include <tests/support/training.h>

namespace {

using support::MLP;
using torch::Tensor;

// What graphs of the stand-in were told.
struct Told {
  int warm_ups = 0, recordings = 0, replays = 0, forbidden = 0, forbidden_warm_ups = 0;
};
Told told;

// `record` keeps the work and runs nothing of it, as a capture; `replay` runs it.
class PlayAgain final : public fabric::DeviceGraph {
 public:
  void warm_up(const std::function<void()>& work) override {
    ++told.warm_ups;
    told.forbidden_warm_ups += told.forbidden;
    work();
  }
  void record(const std::function<void()>& work) override {
    ++told.recordings;
    work_ = work;
  }
  void replay() override {
    ++told.replays;
    work_();
  }

 private:
  std::function<void()> work_;
};

class Recorder : public support::OtherCpu {
 public:
  Recorder() : OtherCpu("recorder") {}
  std::shared_ptr<void> forbid_synchronisation() const override {
    ++told.forbidden;
    return {&told, [](void*) { --told.forbidden; }};
  }
  std::unique_ptr<fabric::DeviceGraph> make_graph(c10::Device) const override {
    return std::make_unique<PlayAgain>();
  }
};

// A Fabric on the CPU, or on what records.
struct Place {
  Place(const std::string& accelerator, fabric::FabricOptions options = {}) {
    static const bool registered = [] {
      fabric::register_accelerator(std::make_unique<Recorder>());
      return true;
    }();
    CHECK(registered);
    setenv("FABRIC_ACCELERATOR", accelerator.c_str(), 1);
    fabric.emplace(options);
    fabric->launch();
    setenv("FABRIC_ACCELERATOR", "cpu", 1);
    told = {};
  }
  std::optional<fabric::Fabric> fabric;
};

fabric::FusedAdamWOptions with_tensor(double lr = 0.01) {
  return {.lr_tensor = torch::full({}, lr)};
}

// A net in training by a captured step, which counts the runs of its function.
struct Training {
  explicit Training(fabric::Fabric& fabric)
      : net(support::with_seed(1, [] { return MLP(); })),
        model(fabric.setup(net)),
        optimizer(fabric.setup_optimizers(fabric::FusedAdamW(net->parameters(), with_tensor()))) {}
  auto captured(fabric::Fabric& fabric) {
    return fabric.capture([this, &fabric](Tensor x, Tensor y) {
      ++runs;
      optimizer.zero_grad();
      const Tensor loss = torch::mse_loss(model->forward(x), y);
      fabric.backward(loss);
      optimizer.step();
      return loss;
    });
  }
  MLP net;
  fabric::FabricModule<support::MLPImpl> model;
  fabric::FabricOptimizer optimizer;
  int runs = 0;
};

}  // namespace

TEST_SUITE("fabric.capture") {
  TEST_CASE("each call is one step, with its own inputs and a learning rate that changes") {
    for (const std::string accelerator : {"cpu", "recorder"}) {
      CAPTURE(accelerator);
      MLP reference = support::with_seed(1, [] { return MLP(); });
      fabric::FusedAdamW reference_optimizer(reference->parameters(), {.lr = 0.01});
      Place place(accelerator);
      Training training(*place.fabric);
      const auto step = training.captured(*place.fabric);
      std::vector<Tensor> losses, expected;
      torch::manual_seed(2);
      for (int i = 0; i < 8; ++i) {
        const Tensor x = torch::randn({5, 6}), y = torch::randn({5, 3});
        const double lr = 0.01 / (1 + i);
        reference_optimizer.param_groups()[0].options().set_lr(lr);
        training.optimizer.param_groups()[0].options().set_lr(lr);
        reference_optimizer.zero_grad();
        const Tensor loss = torch::mse_loss(reference->forward(x), y);
        loss.backward();
        reference_optimizer.step();
        expected.push_back(loss.detach());
        losses.push_back(step(x, y));
        CHECK_FALSE(losses.back().requires_grad());
        CHECK(step.replays() == (accelerator == "recorder" && i >= 3));
        CHECK(support::distance(training.net->parameters(), reference->parameters()) < 1e-6);
      }
      // None was overwritten by a later step.
      CHECK(torch::allclose(torch::stack(losses), torch::stack(expected)));
      CHECK(training.runs == 8);
      CHECK(told.warm_ups == (accelerator == "recorder" ? 3 : 0));
      CHECK(told.recordings == (accelerator == "recorder" ? 1 : 0));
      CHECK(told.replays == (accelerator == "recorder" ? 5 : 0));
      CHECK(told.forbidden_warm_ups == told.recordings);  // the last one before the recording
      CHECK(told.forbidden == 0);
    }
  }

  TEST_CASE("results are structures, or nothing") {
    Place place("recorder");
    Tensor sum = torch::zeros({});
    const auto add = place.fabric->capture([&](Tensor x) { sum.add_(x.sum()); });
    struct Outputs {
      Tensor twice;
      std::vector<Tensor> more;
      int number;
    };
    const auto make = place.fabric->capture(
        [](Tensor x) { return Outputs{.twice = 2 * x, .more = {x + 1}, .number = 7}; });
    for (int i = 0; i < 6; ++i) {
      const Tensor x = torch::full({2}, static_cast<float>(i));
      add(x);
      const Outputs outputs = make(x);
      CHECK(outputs.twice[1].item<float>() == 2 * i);
      CHECK(outputs.more.at(0)[0].item<float>() == i + 1);
      CHECK(outputs.number == 7);
    }
    CHECK(sum.item<float>() == 30);
    CHECK(place.fabric->capture([] { return torch::ones({}); })().item<float>() == 1);
  }

  TEST_CASE("arguments that change are refused with what is expected, everywhere") {
    for (const std::string accelerator : {"cpu", "recorder"}) {
      Place place(accelerator);
      const auto step = place.fabric->capture([](Tensor x, Tensor y) { return (x * y).sum(); });
      const Tensor x = torch::ones({4, 2});
      for (int i = 0; i < 5; ++i) {
        CHECK(step(x, x).item<float>() == 8);
        CHECK_THROWS_WITH_AS(
            step(x, torch::ones({3, 2})),
            doctest::Contains("argument 2 changed; got Float [3, 2]; expected Float [4, 2]"),
            fabric::MisconfigurationError);
        CHECK_THROWS_WITH_AS(step(x.to(torch::kDouble), x),
                             doctest::Contains("argument 1 changed; got Double"),
                             fabric::MisconfigurationError);
        CHECK_THROWS_WITH_AS(step(x, torch::ones({4, 2}).requires_grad_()),
                             doctest::Contains("argument 2 is part of a graph"),
                             fabric::MisconfigurationError);
      }
      CHECK(step(x + 1, x).item<float>() == 16);
    }
  }

  TEST_CASE("optimizers that keep numbers on the host are refused, everywhere") {
    for (const std::string accelerator : {"cpu", "recorder"}) {
      Place place(accelerator);
      fabric::Fabric& fabric = *place.fabric;
      MLP net;
      auto model = fabric.setup(net);
      auto plain = fabric.setup_optimizers(torch::optim::SGD(net->parameters(), 0.1));
      auto number = fabric.setup_optimizers(fabric::FusedAdamW(net->parameters(), {.lr = 0.1}));
      auto fit = fabric.setup_optimizers(
          fabric::FusedSGD(net->parameters(), {.lr_tensor = torch::full({}, 0.1)}));
      const auto step_of = [&](fabric::FabricOptimizer& optimizer, bool closure) {
        return fabric.capture([&, closure](Tensor x) {
          fabric.backward(model->forward(x).sum());
          optimizer.step(closure ? [] { return torch::ones({}); }
                                 : torch::optim::Optimizer::LossClosure());
        });
      };
      const Tensor x = torch::ones({1, 6});
      CHECK_THROWS_WITH_AS(step_of(plain, false)(x), doctest::Contains("torch::optim::SGD keeps"),
                           fabric::MisconfigurationError);
      CHECK_THROWS_WITH_AS(step_of(number, false)(x),
                           doctest::Contains("group 0 has its learning rate as a number"),
                           fabric::MisconfigurationError);
      CHECK_THROWS_WITH_AS(step_of(fit, true)(x), doctest::Contains("closure decides on the host"),
                           fabric::MisconfigurationError);
      CHECK_NOTHROW(step_of(fit, false)(x));
      CHECK_NOTHROW(plain.step());  // outside a captured step they are as good as any
      CHECK_NOTHROW(number.step());
    }
  }

  TEST_CASE("a schedule that moves the momentum of a captured step is refused, everywhere") {
    for (const std::string accelerator : {"cpu", "recorder"}) {
      CAPTURE(accelerator);
      Place place(accelerator);
      const Tensor x = torch::ones({5, 6}), y = torch::zeros({5, 3});
      Training training(*place.fabric);
      const auto step = training.captured(*place.fabric);
      fabric::Schedule cycle(training.optimizer, fabric::OneCycleLR{.steps = 20});
      cycle.step();  // nothing is captured yet
      step(x, y);
      CHECK_THROWS_WITH_AS(cycle.step(),
                           doctest::Contains("the momentum is part of a captured step"),
                           fabric::MisconfigurationError);
      Training other(*place.fabric);
      const auto other_step = other.captured(*place.fabric);
      fabric::Schedule rate(other.optimizer,
                            fabric::OneCycleLR{.steps = 20, .cycle_momentum = false});
      for (int i = 0; i < 6; ++i) {
        other_step(x, y);
        CHECK_NOTHROW(rate.step());
      }
      CHECK(other.optimizer.param_groups()[0].options().get_lr() ==
            doctest::Approx(rate.last_lr()[0]));
    }
  }

  TEST_CASE("a step that fails leaves the capture usable, its error unchanged") {
    Place place("recorder");
    int fails = 2;
    const auto step = place.fabric->capture([&](Tensor x) {
      if (fails-- > 0) {
        throw std::out_of_range("the step failed");
      }
      return x + 1;
    });
    CHECK_THROWS_WITH_AS(step(torch::ones({})), "the step failed", std::out_of_range);
    CHECK_THROWS_WITH_AS(step(torch::ones({})), "the step failed", std::out_of_range);
    for (int i = 0; i < 5; ++i) {
      CHECK(step(torch::full({}, static_cast<float>(i))).item<float>() == i + 1);
    }
    CHECK(told.recordings == 1);
    // What LibTorch says of the last run before the recording tells that there can be none.
    int runs = 0;
    const auto waits = place.fabric->capture([&](Tensor x) {
      TORCH_CHECK(++runs < 3, "called a synchronizing operation");
      return x;
    });
    waits(torch::ones({}));
    waits(torch::ones({}));
    CHECK_THROWS_WITH_AS(waits(torch::ones({})),
                         doctest::Contains("cannot be recorded: called a synchronizing operation"),
                         fabric::MisconfigurationError);
  }

  TEST_CASE("why there is no graph is said once") {
    const auto said_by = [](const std::string& accelerator, fabric::FabricOptions options) {
      Place place(accelerator, options);
      const support::CapturedLog log;
      const auto same = [](Tensor x) { return x; };
      place.fabric->capture(same);
      place.fabric->capture(same);
      return log.text();
    };
    const auto count = [](const std::string& text) {
      std::size_t found = 0;
      for (std::size_t at = text.find("captured steps"); at != std::string::npos;
           at = text.find("captured steps", at + 1)) {
        ++found;
      }
      return found;
    };
    const std::string cpu = said_by("cpu", {});
    CHECK(count(cpu) == 1);
    CHECK(cpu.find("run as they are: cpu has no graphs") != std::string::npos);
    CHECK(said_by("recorder", {.strategy = "fsdp"}).find("strategy fsdp acts on the host") !=
          std::string::npos);
    CHECK(said_by("recorder", {.precision = "16-mixed"}).find("loss scale of 16-mixed") !=
          std::string::npos);
    CHECK(count(said_by("recorder", {})) == 0);
  }
}
