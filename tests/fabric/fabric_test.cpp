// The Fabric object in a world of one: values, setup styles, launching, printing.
#include <doctest/doctest.h>

#include <cstdlib>
#include <iostream>
#include <map>
#include <sstream>

#include <torch/torch.h>

#include <fabric/fabric.h>
#include <strategies/registry.h>

#include <tests/support/captured_log.h>
#include <tests/support/training.h>

namespace {

using support::MLP;
using torch::Tensor;

struct Totals {
  double loss = 0;
  std::int64_t correct = 0;
  Tensor histogram;
};

struct Setting {
  std::string name;
  std::vector<double> rates;
  std::optional<int> depth;
};

struct EnvironmentVariable {
  EnvironmentVariable(const char* name, const char* value) : name(name) { setenv(name, value, 1); }
  ~EnvironmentVariable() { unsetenv(name); }
  const char* name;
};

}  // namespace

TEST_SUITE("fabric.fabric") {
  TEST_CASE("a program of one process needs no launch") {
    fabric::Fabric fabric;
    CHECK(!fabric.launched());
    CHECK(fabric.world_size() == 1);
    CHECK(fabric.global_rank() == 0);
    CHECK(fabric.is_global_zero());
    CHECK((fabric.device() == torch::kCPU));
    CHECK(fabric.launched());
    CHECK(fabric.strategy() == "single_device");
    CHECK(fabric.accelerator() == "cpu");
    CHECK(fabric.precision() == "32-true");
    fabric.launch();  // again: nothing
    fabric.barrier();
  }

  TEST_CASE("calls before launch say so where several processes are wanted") {
    fabric::Fabric fabric({.devices = 2});
    if (!fabric::mpi::compiled()) {
      CHECK_THROWS_WITH_AS(fabric.setup(MLP()), doctest::Contains("this build has none"),
                           fabric::MisconfigurationError);
      return;
    }
    CHECK_THROWS_WITH_AS(fabric.setup(MLP()), doctest::Contains("[fabric.setup] needs a launched"),
                         fabric::NotLaunchedError);
    CHECK_THROWS_AS(fabric.barrier(), fabric::NotLaunchedError);
    CHECK_THROWS_AS(fabric.all_gather(torch::ones({1})), fabric::NotLaunchedError);
    CHECK_THROWS_AS(fabric.broadcast(1), fabric::NotLaunchedError);
    CHECK_THROWS_AS(fabric.sum(1), fabric::NotLaunchedError);
    CHECK_THROWS_AS(fabric.init_module([] { return MLP(); }), fabric::NotLaunchedError);
  }

  TEST_CASE("the environment overrides the program") {
    const EnvironmentVariable variable("FABRIC_DEVICES", "1");
    fabric::Fabric fabric({.devices = 4});
    fabric.launch();
    CHECK(fabric.world_size() == 1);
  }

  TEST_CASE("both set-up styles and up to three optimizers") {
    fabric::Fabric fabric;
    MLP net;
    torch::optim::SGD sgd(net->parameters(), 0.1);
    auto [model, optimizer] = fabric.setup(net, sgd);
    CHECK(&optimizer.optimizer() == &sgd);
    MLP other;
    auto [model3, first, second, third] =
        fabric.setup(other, torch::optim::SGD(other->first->parameters(), 0.1),
                     std::make_shared<torch::optim::Adam>(other->second->parameters()),
                     std::make_unique<torch::optim::AdamW>(other->third->parameters()));
    fabric.backward(model3->forward(torch::ones({1, 6})).sum());
    first.step();
    second.step();
    third.step();
    auto [a, b] = fabric.setup_optimizers(torch::optim::SGD(net->first->parameters(), 0.1),
                                          torch::optim::SGD(net->second->parameters(), 0.1));
    a.zero_grad();
    b.zero_grad();
    fabric.setup(MLP(), torch::optim::SGD(other->parameters(), 0.1), {.move_to_device = false});
  }

  TEST_CASE("parameters on several devices are warned of when they are moved") {
    struct MixedImpl : torch::nn::Module {
      MixedImpl() {
        register_parameter("here", torch::ones({2}));
        register_parameter("elsewhere", torch::ones({2}, torch::kMeta));
      }
    } net;
    fabric::Fabric fabric;
    fabric.launch();
    const support::CapturedLog said;
    auto model = fabric.setup(net, {.move_to_device = false});
    const bool silent = said.text().empty();
    MixedImpl other;
    CHECK_THROWS(fabric.setup(other));  // LibTorch cannot copy out of a meta tensor
    CHECK(silent);
    CHECK((model->device() == torch::kCPU));
    CHECK(said.text().find("lie on several devices (cpu, meta)") != std::string::npos);
  }

  TEST_CASE("an optimizer keeps its user-facing parts") {
    fabric::Fabric fabric;
    MLP net;
    auto model = fabric.setup(net);
    auto optimizer = fabric.setup_optimizers(torch::optim::Adam(net->first->parameters(), 1e-2));
    CHECK(optimizer.param_groups().size() == 1);
    optimizer.add_param_group(net->second->parameters());
    CHECK(optimizer.param_groups().size() == 2);
    torch::optim::StepLR schedule(optimizer, 1, 0.1);
    const Tensor loss = optimizer.step([&] {
      optimizer.zero_grad();
      torch::AutoGradMode on(true);
      Tensor value = model->forward(torch::ones({1, 6})).sum();
      fabric.backward(value);
      return value;
    });
    CHECK(loss.defined());
    schedule.step();
    schedule.step();  // LibTorch's first step keeps the rate
    CHECK(optimizer.param_groups()[0].options().get_lr() == doctest::Approx(1e-3));
    CHECK(optimizer.state().size() == 4);
  }

  TEST_CASE("values keep their shapes in a world of one") {
    fabric::Fabric fabric;
    const Tensor x = torch::arange(6).reshape({2, 3});
    CHECK(fabric.all_gather(x).sizes() == std::vector<int64_t>{1, 2, 3});
    CHECK(fabric.all_gather(2.5).sizes() == std::vector<int64_t>{1});
    CHECK((fabric.all_gather(true).scalar_type() == torch::kBool));
    CHECK(torch::equal(fabric.all_gather_cat(x), x));
    const auto nested = fabric.all_gather(
        std::map<std::string, std::vector<Tensor>>{{"a", {x, x.to(torch::kFloat)}}});
    CHECK(nested.at("a")[1].sizes() == std::vector<int64_t>{1, 2, 3});
    const auto [left, right] = fabric.all_gather(std::tuple(x, std::string("kept")));
    CHECK(left.dim() == 3);
    CHECK(right == "kept");

    CHECK(fabric.sum(3) == 3);
    CHECK(std::is_same_v<decltype(fabric.sum(true)), std::int64_t>);
    CHECK(std::is_same_v<decltype(fabric.mean(3)), double>);
    CHECK(fabric.mean(3) == 3.0);
    CHECK((fabric.mean(x).scalar_type() == torch::kDouble));
    Tensor reduced = fabric.all_reduce(x.to(torch::kFloat), "max");
    reduced.zero_();
    CHECK(x.sum().item<int64_t>() == 15);  // never in place
    const Totals totals = fabric.sum(Totals{.loss = 1.5, .correct = 2, .histogram = x});
    CHECK(totals.loss == 1.5);
    CHECK(totals.correct == 2);
    CHECK(torch::equal(totals.histogram, x));
    CHECK_THROWS_WITH_AS(fabric.mean(Totals{.loss = 1, .correct = 1, .histogram = x}),
                         doctest::Contains("the mean of an integer inside a struct"),
                         fabric::MisconfigurationError);
    CHECK_THROWS_WITH_AS(fabric.all_reduce(1, "mean"),
                         doctest::Contains("fabric.mean(x) returns a double"),
                         fabric::MisconfigurationError);

    CHECK(torch::equal(fabric.broadcast(x), x));
    const Setting setting = fabric.broadcast(Setting{"a", {1, 2}, 3});
    CHECK(setting.rates == std::vector<double>{1, 2});
    CHECK_THROWS_WITH_AS(fabric.broadcast(1, 1), doctest::Contains("no such rank; got source 1"),
                         fabric::MisconfigurationError);
    CHECK(fabric.rank_zero_first([] { return 5; }) == 5);
    CHECK_THROWS_WITH(fabric.rank_zero_first([] { throw std::runtime_error("no file"); }),
                      doctest::Contains("no file"));
  }

  TEST_CASE("objects survive packing") {
    Setting sent{"name", {1.5, 2.5}, std::nullopt};
    Setting received{"old", {9}, 4};
    fabric::detail::unpack(fabric::detail::pack(sent), received);
    CHECK(received.name == "name");
    CHECK(received.rates == sent.rates);
    CHECK(!received.depth);
    const std::map<std::string, Tensor> tensors = {{"x", torch::arange(4).to(torch::kBFloat16)},
                                                   {"none", Tensor()}};
    std::map<std::string, Tensor> copy;
    fabric::detail::unpack(fabric::detail::pack(tensors), copy);
    CHECK(torch::equal(copy.at("x"), tensors.at("x")));
    CHECK(!copy.at("none").defined());
    std::vector<bool> flags;
    fabric::detail::unpack(fabric::detail::pack(std::vector<bool>{true, false, true}), flags);
    CHECK(flags == std::vector<bool>{true, false, true});
    CHECK_THROWS_AS(fabric::detail::unpack(std::vector<char>{1, 2}, flags),
                    fabric::CommunicationError);
  }

  TEST_CASE("a user's strategy is used by its name") {
    struct Counting : fabric::Strategy {
      std::string name() const override { return "counting"; }
      std::shared_ptr<fabric::ManagedModel> manage(std::string,
                                                   fabric::ModelTensors tensors) override {
        parameters = tensors.parameters.size();
        return std::make_shared<fabric::ManagedModel>();
      }
      void before_backward() override { ++backwards(); }
      static int& backwards() {
        static int count = 0;
        return count;
      }
      std::size_t parameters = 0;
    };
    fabric::register_strategy(
        "counting", [](const fabric::StrategyContext&) { return std::make_unique<Counting>(); });
    CHECK_THROWS_AS(fabric::register_strategy("ddp", nullptr), fabric::MisconfigurationError);
    fabric::Fabric fabric({.strategy = std::string("counting")});
    auto model = fabric.setup(MLP());
    fabric.backward(model->forward(torch::ones({1, 6})).sum());
    CHECK(Counting::backwards() == 1);
    CHECK_THROWS_WITH_AS(fabric::make_strategy("missing", {}),
                         doctest::Contains("expected one of counting, ddp, fsdp, single_device"),
                         fabric::MisconfigurationError);
    CHECK_THROWS_WITH_AS(
        fabric::make_strategy("ddp", {.options = fabric::DDPOptions{.bucket_mb = -1}}),
        doctest::Contains("bucket_mb must be positive; got -1"), fabric::MisconfigurationError);
  }

  TEST_CASE("the precision of matrix products is set at launch, for the process") {
    using at::Float32MatmulPrecision;
    const auto now = [] { return at::globalContext().float32MatmulPrecision(); };
    const Float32MatmulPrecision before = now();
    fabric::Fabric high({.matmul_precision = "high"});
    CHECK((now() == before));
    high.launch();
    CHECK((now() == Float32MatmulPrecision::HIGH));
    fabric::Fabric keeps;
    keeps.launch();
    CHECK((now() == Float32MatmulPrecision::HIGH));
    fabric::Fabric highest({.matmul_precision = "highest"});
    highest.launch();
    CHECK((now() == Float32MatmulPrecision::HIGHEST));
    at::globalContext().setFloat32MatmulPrecision("medium");
    CHECK((now() == Float32MatmulPrecision::MEDIUM));
    at::globalContext().setFloat32MatmulPrecision(
        before == Float32MatmulPrecision::HIGHEST ? "highest"
        : before == Float32MatmulPrecision::HIGH  ? "high"
                                                  : "medium");
  }

  TEST_CASE("init_module builds in the precision and on the device") {
    fabric::Fabric fabric({.precision = "64-true"});
    auto net = fabric.init_module([] { return MLP(); });
    CHECK((net->first->weight.scalar_type() == torch::kDouble));
    CHECK((torch::get_default_dtype() == caffe2::TypeMeta::Make<float>()));
  }

  TEST_CASE("to_device returns the same tensors where they are already there") {
    fabric::Fabric fabric;
    const Tensor x = torch::ones({2});
    CHECK(fabric.to_device(std::vector<Tensor>{x})[0].is_same(x));
  }

  TEST_CASE("the accumulate range synchronises and scales by its window") {
    fabric::Fabric fabric;
    const std::vector<int> loader = {0, 1, 2, 3, 4, 5, 6};
    std::vector<double> scales;
    int steps = 0;
    for (auto [batch, micro] : fabric.accumulate(loader, 3)) {
      scales.push_back(micro.scale(torch::ones({})).item<double>());
      steps += micro.last();
    }
    CHECK(steps == 3);
    CHECK(scales[0] == doctest::Approx(1.0 / 3));
    CHECK(scales[6] == 1);
  }
}
