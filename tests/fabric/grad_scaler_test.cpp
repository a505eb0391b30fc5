// Loss scaling: PyTorch's sequence, the same numbers as by hand, and everything that would bypass
// it.
#include <doctest/doctest.h>

#include <array>
#include <limits>
#include <sstream>

#include <ATen/autocast_mode.h>
#include <torch/torch.h>

#include <fabric/fabric.h>

#include <tests/support/training.h>

namespace {

using fabric::MisconfigurationError;
using fabric::RoutingError;
using torch::Tensor;

/// Two numbers, whose gradients are the input.
struct PairImpl : torch::nn::Module {
  Tensor forward(const Tensor& x) { return (values * x).sum(); }
  Tensor values = register_parameter("values", torch::ones({2}));
};
TORCH_MODULE(Pair);

constexpr float kInfinity = std::numeric_limits<float>::infinity();

Tensor gradient_of(bool finite) {
  return torch::tensor({1.0F, finite ? 2.0F : kInfinity});
}

fabric::FabricOptions scaled(fabric::GradScalerOptions options = {}) {
  return {.accelerator = "cpu",
          .strategy = "single_device",
          .devices = 1,
          .precision = "16-mixed",
          .grad_scaler = options};
}

/// A net, its optimizer and their handles.
struct Training {
  explicit Training(fabric::GradScalerOptions options = {}) : fabric(scaled(options)) {
    model = fabric.setup(net);
    optimizer = fabric.setup_optimizers(raw);
  }
  void backward(bool finite = true) { fabric.backward(model(gradient_of(finite))); }
  double first() const { return net->values[0].item<double>(); }
  double scale() { return fabric.grad_scaler().scale().item<double>(); }
  int tracker() { return fabric.grad_scaler().growth_tracker().item<int>(); }

  fabric::Fabric fabric;
  Pair net;
  torch::optim::SGD raw{net->parameters(), 0.1};
  fabric::FabricModule<PairImpl> model;
  fabric::FabricOptimizer optimizer;
};

}  // namespace

TEST_SUITE("fabric.grad_scaler") {
  TEST_CASE("scale, growth and skipped steps follow torch.amp.GradScaler") {
    // Of Python's GradScaler("cpu", init_scale=8, growth_interval=3) over SGD(lr=0.1), torch 2.11:
    // after each iteration the scale, the growth tracker and the first number.
    struct Row {
      bool finite;
      double scale;
      int tracker;
      double first;
    };
    const std::array<Row, 16> rows = {{{true, 8, 1, 0.9},
                                       {true, 8, 2, 0.8},
                                       {true, 16, 0, 0.7},
                                       {true, 16, 1, 0.6},
                                       {false, 8, 0, 0.6},
                                       {true, 8, 1, 0.5},
                                       {false, 4, 0, 0.5},
                                       {false, 2, 0, 0.5},
                                       {true, 2, 1, 0.4},
                                       {true, 2, 2, 0.3},
                                       {true, 4, 0, 0.2},
                                       {true, 4, 1, 0.1},
                                       {true, 4, 2, 0.0},
                                       {true, 8, 0, -0.1},
                                       {false, 4, 0, -0.1},
                                       {true, 4, 1, -0.2}}};
    Training training({.init_scale = 8, .growth_interval = 3});
    const Row* before = nullptr;
    for (const Row& row : rows) {
      training.optimizer.zero_grad();
      training.backward(row.finite);  // ends the iteration before
      CHECK(training.scale() == (before ? before->scale : 8));
      CHECK(training.tracker() == (before ? before->tracker : 0));
      training.optimizer.step();
      CHECK(training.first() == doctest::Approx(row.first).epsilon(1e-6));
      before = &row;
    }
  }

  TEST_CASE("training equals autocast and scaling by hand, bit for bit") {
    torch::manual_seed(3);
    const Tensor x = torch::randn({8, 6});
    auto expected = support::with_seed(1, [] { return support::MLP(); });
    {
      torch::optim::SGD optimizer(expected->parameters(), 0.1);
      for (int i = 0; i < 3; ++i) {
        optimizer.zero_grad();
        at::autocast::set_autocast_enabled(at::kCPU, true);
        at::autocast::set_autocast_dtype(at::kCPU, at::kHalf);
        Tensor output = expected->forward(x);
        at::autocast::clear_cache();
        at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
        at::autocast::set_autocast_enabled(at::kCPU, false);
        (output.to(torch::kFloat).square().mean() * 65536).backward();
        for (const Tensor& parameter : expected->parameters()) {
          parameter.grad().div_(65536);
        }
        optimizer.step();
      }
    }
    fabric::Fabric fabric(scaled());
    auto net = support::with_seed(1, [] { return support::MLP(); });
    auto model = fabric.setup(net);
    auto optimizer = fabric.setup_optimizers(torch::optim::SGD(net->parameters(), 0.1));
    for (int i = 0; i < 3; ++i) {
      optimizer.zero_grad();
      fabric.backward(model->forward(x).square().mean());
      optimizer.step();
    }
    CHECK(support::distance(net->parameters(), expected->parameters()) == 0);
    CHECK((net->first->weight.scalar_type() == torch::kFloat));
  }

  TEST_CASE("the scale changes once an iteration, whatever the number of optimizers") {
    fabric::Fabric fabric(scaled({.init_scale = 8, .growth_interval = 1000}));
    auto generator = fabric.setup(Pair());
    auto critic = fabric.setup(Pair());
    auto first = fabric.setup_optimizers(torch::optim::SGD(generator->parameters(), 0.1));
    auto second = fabric.setup_optimizers(torch::optim::SGD(critic->parameters(), 0.1));
    const Tensor& tracker = fabric.grad_scaler().growth_tracker();
    for (int iteration = 1; iteration <= 5; ++iteration) {
      fabric.backward(generator(gradient_of(true)));
      first.step();
      fabric.backward(critic(gradient_of(true)));
      second.step();
      CHECK(tracker.item<int>() == iteration - 1);  // the next backward ends this one
    }
    // Either one's overflow halves the scale, once.
    for (int iteration = 1; iteration <= 2; ++iteration) {
      fabric.backward(generator(gradient_of(iteration == 1)));
      first.step();
      fabric.backward(critic(gradient_of(iteration == 1)));
      second.step();
      first.zero_grad();
      second.zero_grad();
    }
    fabric.backward(generator(gradient_of(true)));
    first.step();
    fabric.backward(critic(gradient_of(true)));
    CHECK(fabric.grad_scaler().scale().item<double>() == 4);
  }

  TEST_CASE("an optimizer that is not used any more does not hold the scale") {
    fabric::Fabric fabric(scaled({.init_scale = 8, .growth_interval = 1}));
    auto model = fabric.setup(Pair());
    auto used = fabric.setup_optimizers(torch::optim::SGD(model->parameters(), 0.0));
    auto idle = fabric.setup_optimizers(torch::optim::SGD(model->parameters(), 0.0));
    fabric.backward(model(gradient_of(true)));
    used.step();
    idle.step();  // nothing is unscaled twice, but that is not looked at here
    for (int i = 0; i < 128; ++i) {
      used.zero_grad();
      fabric.backward(model(gradient_of(false)));
      used.step();
    }
    const double before = fabric.grad_scaler().scale().item<double>();
    for (int i = 0; i < 4; ++i) {
      used.zero_grad();
      fabric.backward(model(gradient_of(false)));
      used.step();
    }
    CHECK(fabric.grad_scaler().scale().item<double>() <= before / 4);
  }

  TEST_CASE("clipping sees gradients without the scale, and norms are those of one in float32") {
    Training training;
    training.backward();
    const Tensor norm = training.fabric.gradient_norms(training.model).front().tensor;
    CHECK(norm.item<double>() == doctest::Approx(std::sqrt(5.0)));
    CHECK(training.fabric.gradient_norm(training.optimizer).item<double>() ==
          doctest::Approx(std::sqrt(5.0)));
    CHECK(training.fabric.gradient_norms(training.model).front().tensor.item<double>() ==
          doctest::Approx(std::sqrt(5.0)));
    training.fabric.clip_gradients(training.model, training.optimizer, {.clip_val = 0.5});
    training.optimizer.step();
    CHECK(training.first() == doctest::Approx(1 - 0.1 * 0.5));
  }

  TEST_CASE("gradients that were clipped and not stepped add up with the next") {
    Training training;
    training.backward();
    training.fabric.clip_gradients(training.model, training.optimizer, {.clip_val = 100});
    training.backward();
    training.optimizer.step();
    CHECK(training.first() == doctest::Approx(1 - 0.1 * 2));
    training.backward();  // on top of gradients that a step has used: as without scaling
    training.optimizer.step();
    training.optimizer.step();
    CHECK(training.first() == doctest::Approx(1 - 0.1 * (2 + 3 + 3)));
  }

  TEST_CASE("a gradient given to backward is scaled as well") {
    Training training;
    training.fabric.backward(training.model(gradient_of(true)), torch::tensor(3.0F));
    training.optimizer.step();
    CHECK(training.first() == doctest::Approx(1 - 0.1 * 3));
  }

  TEST_CASE("accumulated micro-batches make one step") {
    Training training;
    for (int i = 0; i < 4; ++i) {
      training.backward();
    }
    training.optimizer.step();
    CHECK(training.first() == doctest::Approx(1 - 0.1 * 4));
  }

  TEST_CASE("a closure runs once") {
    Training training;
    int runs = 0;
    const Tensor loss = training.optimizer.step([&] {
      ++runs;
      training.optimizer.zero_grad();
      Tensor result = training.model(gradient_of(true));
      training.fabric.backward(result);
      return result;
    });
    CHECK(runs == 1);
    CHECK(loss.item<double>() == doctest::Approx(3));
    CHECK(training.first() == doctest::Approx(0.9));
  }

  TEST_CASE("scale and progress are saved and restored") {
    Training training({.init_scale = 32, .growth_interval = 5});
    for (int i = 0; i < 4; ++i) {
      training.optimizer.zero_grad();
      training.backward(i > 0);
      training.optimizer.step();
    }
    training.backward();  // ends the iteration
    std::stringstream file;
    torch::save(training.fabric.grad_scaler(), file);

    Training other({.init_scale = 1});
    torch::load(other.fabric.grad_scaler(), file);
    CHECK(other.scale() == 16);
    CHECK(other.tracker() == training.tracker());
    CHECK(other.tracker() == 3);
    CHECK(other.fabric.grad_scaler().options().growth_interval == 5);

    // As a part of an archive of the user's own.
    std::stringstream shared;
    torch::serialize::OutputArchive saved, part;
    training.fabric.grad_scaler().save(part);
    saved.write("scaler", part);
    saved.save_to(shared);
    torch::serialize::InputArchive read, inner;
    read.load_from(shared);
    read.read("scaler", inner);
    Training third;
    third.fabric.grad_scaler().load(inner);
    CHECK(third.scale() == 16);
  }

  TEST_CASE("archives of something else are refused, and nothing is taken from them") {
    Training training({.init_scale = 16});
    const auto refused = [&](auto&& write, const char* text) {
      std::stringstream file;
      torch::serialize::OutputArchive archive;
      write(archive);
      archive.save_to(file);
      CHECK_THROWS_WITH_AS(torch::load(training.fabric.grad_scaler(), file),
                           doctest::Contains(text), fabric::CheckpointError);
      CHECK(training.scale() == 16);
      CHECK(training.fabric.grad_scaler().options().growth_interval == 2000);
    };
    const auto rest = [](torch::serialize::OutputArchive& archive, double growth, auto interval) {
      archive.write("scale", torch::full({}, 4.0), /*is_buffer=*/true);
      archive.write("_growth_tracker", torch::zeros({}, torch::kInt), /*is_buffer=*/true);
      archive.write("growth_factor", c10::IValue(growth));
      archive.write("backoff_factor", c10::IValue(0.5));
      archive.write("growth_interval", c10::IValue(interval));
    };
    refused([](auto& archive) { archive.write("scale", torch::ones({})); },
            "the archive holds no loss scaling; expected what GradScaler::save wrote");
    refused([&](auto& archive) { rest(archive, 2, "often"); }, "the archive holds no loss scaling");
    refused([&](auto& archive) { rest(archive, 0.5, 100); },
            "the saved state is damaged: growth_factor must be greater than 1; got 0.5");
    std::stringstream module;
    torch::save(training.net, module);
    CHECK_THROWS_AS(torch::load(training.fabric.grad_scaler(), module), fabric::CheckpointError);
    CHECK(training.scale() == 16);
  }

  TEST_CASE("a raw backward and a raw step are refused, before they do harm") {
    Training training;
    CHECK_THROWS_WITH_AS(training.model(gradient_of(true)).backward(),
                         doctest::Contains("Hint: fabric.backward(loss)"), RoutingError);
    training.optimizer.zero_grad();
    training.backward();
    CHECK_THROWS_WITH_AS(training.raw.step(),
                         doctest::Contains("writes to parameter 'values' of Pair while its "
                                           "gradient is scaled"),
                         RoutingError);
    CHECK(training.first() == 1);
    training.optimizer.step();
    CHECK(training.first() == doctest::Approx(0.9));
    const torch::NoGradGuard no_grad;
    CHECK_NOTHROW(training.net->values.clamp_(-1, 1));  // a write after the step is the user's own
  }

  TEST_CASE("raw steps that go past the dispatcher are refused too") {
    fabric::Fabric fabric(scaled());
    Pair net;
    auto model = fabric.setup(net);
    fabric::FusedAdamW raw(net->parameters(), {.lr = 0.1});
    auto optimizer = fabric.setup_optimizers(raw);
    fabric.backward(model(gradient_of(true)));
    CHECK_THROWS_WITH_AS(raw.step(),
                         doctest::Contains("the step of a fused optimizer writes to parameter "
                                           "'values' of Pair while its gradient is scaled"),
                         RoutingError);
    CHECK(net->values[0].item<double>() == 1);
    CHECK(raw.state_of(net->values).step() == 0);
    optimizer.step();
    CHECK(net->values[0].item<double>() == doctest::Approx(0.899));
    CHECK(raw.state_of(net->values).step() == 1);
  }

  TEST_CASE("a step where no optimizer was set up is refused") {
    fabric::Fabric fabric(scaled());
    Pair net;
    auto model = fabric.setup(net);
    torch::optim::SGD raw(net->parameters(), 0.1);
    net->values.mutable_grad() = torch::ones({2});
    raw.step();  // nothing was scaled so far
    CHECK(net->values[0].item<double>() == doctest::Approx(0.9));
    raw.zero_grad();
    fabric.backward(model(gradient_of(true)));
    CHECK_THROWS_WITH_AS(raw.step(), doctest::Contains("Hint: auto optimizer = fabric.setup_"),
                         RoutingError);
    CHECK(net->values[0].item<double>() == doctest::Approx(0.9));
    raw.zero_grad();
    const torch::NoGradGuard no_grad;
    CHECK_NOTHROW(net->values.fill_(1));  // no gradient, no scale
  }

  TEST_CASE("steps that scaling cannot follow are refused") {
    Training training;
    training.net->values.mutable_grad() = torch::ones({2});
    CHECK_THROWS_WITH_AS(training.optimizer.step(),
                         doctest::Contains("that no fabric.backward has made"), RoutingError);

    torch::optim::SGD foreign(training.net->parameters(), 0.1);
    training.backward();
    CHECK_THROWS_WITH_AS(training.fabric.clip_gradients(training.model, foreign, {.max_norm = 1.0}),
                         doctest::Contains("this optimizer was not set up"), RoutingError);

    CHECK_THROWS_WITH_AS(
        training.fabric.setup_optimizers(torch::optim::LBFGS(training.net->parameters(), 0.1)),
        doctest::Contains("LBFGS runs its closure several times"), MisconfigurationError);

    Pair half;
    half->to(torch::kHalf);
    auto model = training.fabric.setup(half);
    auto optimizer = training.fabric.setup_optimizers(torch::optim::SGD(half->parameters(), 0.1));
    training.fabric.backward(model(gradient_of(true)));
    CHECK_THROWS_WITH_AS(optimizer.step(), doctest::Contains("a parameter is kept in float16"),
                         MisconfigurationError);
  }

  TEST_CASE("an entry in 16-mixed needs a scaler or no gradients") {
    fabric::Fabric fabric({.accelerator = "cpu", .devices = 1});
    auto model = fabric.setup(Pair());
    CHECK_THROWS_WITH_AS(fabric.grad_scaler(), doctest::Contains("nothing is scaled under 32-true"),
                         MisconfigurationError);
    CHECK_THROWS_WITH_AS(model.register_forward_method(
                             "half", [](PairImpl& net, Tensor x) { return net.forward(x); },
                             {.precision = "16-mixed"}),
                         doctest::Contains("whose gradients need loss scaling"),
                         MisconfigurationError);
    CHECK_NOTHROW(model.register_forward_method(
        "half", [](PairImpl& net, Tensor x) { return net.forward(x); },
        {.grad = "off", .precision = "16-mixed"}));
  }

  TEST_CASE("options out of range") {
    const std::pair<fabric::GradScalerOptions, const char*> wrong[] = {
        {{.init_scale = 0}, "init_scale must be positive; got 0"},
        {{.growth_factor = 1}, "growth_factor must be greater than 1; got 1"},
        {{.backoff_factor = 1}, "backoff_factor must lie between 0 and 1; got 1"},
        {{.growth_interval = 0}, "growth_interval must be at least 1; got 0"}};
    for (const auto& [options, text] : wrong) {
      fabric::Fabric fabric(scaled(options));
      CHECK_THROWS_WITH_AS(fabric.launch(), doctest::Contains(text), MisconfigurationError);
    }
  }
}
