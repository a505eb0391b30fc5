// Precisions over ranks: the same numbers under every strategy, the table of dtypes, and loss
// scaling that all ranks agree on.
#include <doctest/doctest.h>

#include <limits>

#include <torch/torch.h>

#include <fabric/fabric.h>

#include <tests/support/sharding.h>

namespace {

using fabric::world;
using support::MLP;
using support::own;
using torch::Tensor;

constexpr auto kNone = at::ScalarType::Undefined;

/// What stands where, after one step.
struct Dtypes {
  at::ScalarType storage = kNone, compute = kNone, reduce = kNone, optimizer = kNone,
                 output = kNone;
};

struct LayerImpl : torch::nn::Module {
  LayerImpl() : layer(register_module("layer", torch::nn::Linear(6, 4))) {}
  Tensor forward(const Tensor& x) {
    Tensor y = layer(x);
    computed = y.scalar_type();
    return y;
  }
  torch::nn::Linear layer;
  at::ScalarType computed = kNone;
};
TORCH_MODULE(Layer);

torch::optim::SGD with_momentum(std::vector<Tensor> parameters) {
  return torch::optim::SGD(std::move(parameters), torch::optim::SGDOptions(0.1).momentum(0.9));
}

Tensor inputs(int64_t columns = 6) {
  torch::manual_seed(11);
  return torch::randn({4L * world().size, columns});
}

Dtypes dtypes_of(const fabric::StrategyChoice& strategy, const char* precision) {
  // A small scale: with the usual one the first steps overflow, and are left out.
  fabric::Fabric fabric({.strategy = strategy,
                         .precision = std::string(precision),
                         .grad_scaler = {.init_scale = 128}});
  fabric.launch();
  Layer net;
  auto model = fabric.setup(net);
  auto optimizer = fabric.setup_optimizers(with_momentum(net->parameters()));
  const Tensor output = model->forward(own(inputs()));
  fabric.backward(output.sum());
  Dtypes found;
  found.compute = net->computed;
  found.reduce = net->layer->weight.grad().scalar_type();
  found.output = output.scalar_type();
  optimizer.step();
  const Tensor stepped = optimizer.param_groups().front().params().front();
  found.storage = stepped.scalar_type();
  found.optimizer = static_cast<torch::optim::SGDParamState&>(
                        *optimizer.state().at(stepped.unsafeGetTensorImpl()))
                        .momentum_buffer()
                        .scalar_type();
  return found;
}

}  // namespace

TEST_SUITE("mpi.precision") {
  TEST_CASE("the table of strategies/precision/README.md") {
    const auto f64 = at::kDouble, f32 = at::kFloat, f16 = at::kHalf, b16 = at::kBFloat16;
    struct Row {
      const char* precision;
      Dtypes plain;    // single_device, ddp and fsdp
      Dtypes sharded;  // fsdp with param_dtype = "bfloat16"
    };
    const Row rows[] = {
        {"32-true", {f32, f32, f32, f32, f32}, {f32, b16, b16, f32, b16}},
        {"64-true", {f64, f64, f64, f64, f32}, {f64, b16, b16, f64, f32}},
        {"bf16-mixed", {f32, b16, f32, f32, f32}, {f32, b16, b16, f32, f32}},
        {"16-mixed", {f32, f16, f32, f32, f32}, {f32, f16, b16, f32, f32}},
        {"bf16-true", {b16, b16, b16, b16, f32}, {b16, b16, b16, b16, f32}},
        {"16-true", {f16, f16, f16, f16, f32}, {f16, b16, b16, f16, f32}},
    };
    std::vector<fabric::StrategyChoice> plain = {"ddp", "fsdp"};
    if (world().size == 1) {
      plain.push_back("single_device");
    }
    const auto check = [](const Dtypes& found, const Dtypes& expected) {
      CHECK((found.storage == expected.storage));
      CHECK((found.compute == expected.compute));
      CHECK((found.reduce == expected.reduce));
      CHECK((found.optimizer == expected.optimizer));
      CHECK((found.output == expected.output));
    };
    for (const Row& row : rows) {
      CAPTURE(std::string(row.precision));
      for (const fabric::StrategyChoice& strategy : plain) {
        CAPTURE(strategy.to_text());
        check(dtypes_of(strategy, row.precision), row.plain);
      }
      check(dtypes_of(fabric::FSDPOptions{.param_dtype = "bfloat16"}, row.precision), row.sharded);
    }
  }

  TEST_CASE("all strategies train with the same numbers") {
    // Of one process over the whole batch, in the same precision; ranks round their parts of a sum
    // differently, in the format in which gradients are reduced. Outputs and losses of 64-true are
    // float32, the default dtype.
    const std::pair<const char*, double> rows[] = {{"32-true", 1e-6},    {"64-true", 1e-7},
                                                   {"bf16-mixed", 5e-3}, {"16-mixed", 5e-4},
                                                   {"bf16-true", 3e-2},  {"16-true", 3e-3}};
    for (const auto& [precision, tolerance] : rows) {
      CAPTURE(std::string(precision));
      std::vector<std::vector<Tensor>> weights;
      for (const fabric::StrategyChoice& strategy :
           {fabric::StrategyChoice("ddp"), fabric::StrategyChoice(support::kLinearUnits),
            fabric::StrategyChoice(fabric::FSDPOptions{.sharding = "none"})}) {
        fabric::Fabric fabric({.strategy = strategy, .precision = std::string(precision)});
        fabric.launch();
        auto net = support::with_seed(1, [] { return MLP(); });
        auto model = fabric.setup(net);
        auto optimizer = fabric.setup_optimizers(torch::optim::SGD(net->parameters(), 0.1));
        for (int step = 0; step < 4; ++step) {
          optimizer.zero_grad();
          fabric.backward(model->forward(own(inputs())).square().mean());
          optimizer.step();
        }
        const auto whole = fabric.full_parameters(model);
        std::vector<Tensor> copies;
        for (const Tensor& parameter : net->parameters()) {
          copies.push_back(parameter.detach().to(torch::kDouble, false, /*copy=*/true));
        }
        weights.push_back(std::move(copies));
      }
      // Gradients of float32 masters are reduced in float32 under each strategy.
      const bool exact = std::string(precision).find("mixed") != std::string::npos;
      CHECK(support::distance(weights[0], weights[1]) <= (exact ? 1e-6 : tolerance));
      CHECK(support::distance(weights[0], weights[2]) <= (exact ? 1e-6 : tolerance));
      // And one process, which this rank is for itself.
      auto net = support::with_seed(1, [] { return MLP(); });
      net->to(torch::kDouble);
      torch::optim::SGD optimizer(net->parameters(), 0.1);
      for (int step = 0; step < 4; ++step) {
        optimizer.zero_grad();
        net->forward(inputs().to(torch::kDouble)).square().mean().backward();
        optimizer.step();
      }
      CHECK(support::distance(weights[0], net->parameters()) <= tolerance);
    }
  }

  TEST_CASE("an overflow on one rank makes all ranks leave the step out") {
    for (const fabric::StrategyChoice& strategy :
         {fabric::StrategyChoice("ddp"), fabric::StrategyChoice(support::kLinearUnits),
          fabric::StrategyChoice(fabric::FSDPOptions{.accumulation = "sharded"})}) {
      CAPTURE(strategy.to_text());
      fabric::Fabric fabric({.strategy = strategy, .precision = "16-mixed"});
      fabric.launch();
      auto net = support::with_seed(1, [] { return MLP(); });
      auto model = fabric.setup(net);
      auto optimizer = fabric.setup_optimizers(with_momentum(net->parameters()));
      const auto weights = [&] {
        const auto whole = fabric.full_parameters(model);
        std::vector<Tensor> copies;
        for (const Tensor& parameter : net->parameters()) {
          copies.push_back(parameter.detach().clone());
        }
        return copies;
      };
      const auto step = [&](bool overflow) {
        optimizer.zero_grad();
        Tensor loss = model->forward(own(inputs())).square().mean();
        if (overflow && world().rank == world().size - 1) {
          loss = loss * std::numeric_limits<float>::infinity();
        }
        fabric.backward(loss);
        optimizer.step();
      };
      step(false);
      const auto before = weights();
      step(true);
      CHECK(support::distance(weights(), before) == 0);
      step(false);
      CHECK(fabric.grad_scaler().scale().item<double>() == 32768);
      CHECK(support::distance(weights(), before) > 0);
      const Tensor first = fabric.broadcast(weights().front().clone(), 0);
      CHECK(torch::equal(first, weights().front()));
    }
  }

  TEST_CASE("a step of the optimizer itself is refused on shards too, before it does harm") {
    const auto check = [](auto&& make) {
      for (const fabric::StrategyChoice& strategy :
           {fabric::StrategyChoice("ddp"), fabric::StrategyChoice(support::kLinearUnits),
            fabric::StrategyChoice(
                fabric::FSDPOptions{.sharding = "grad_op", .param_dtype = "bfloat16"}),
            fabric::StrategyChoice(fabric::FSDPOptions{.sharding = "none"})}) {
        CAPTURE(strategy.to_text());
        fabric::Fabric fabric(
            {.strategy = strategy, .precision = "16-mixed", .grad_scaler = {.init_scale = 128}});
        fabric.launch();
        auto net = support::with_seed(1, [] { return MLP(); });
        auto model = fabric.setup(net);
        auto optimizer = fabric.setup_optimizers(make(net->parameters()));
        const auto weights = [&] {
          const auto whole = fabric.full_parameters(model);
          std::vector<Tensor> copies;
          for (const Tensor& parameter : net->parameters()) {
            copies.push_back(parameter.detach().clone());
          }
          return copies;
        };
        const auto train = [&] {
          optimizer.zero_grad();
          fabric.backward(model->forward(own(inputs())).square().mean());
        };
        train();
        optimizer.step();
        const auto before = weights();
        train();
        CHECK_THROWS_WITH_AS(
            optimizer.optimizer().step(),
            doctest::Contains("of MLP while its gradient is scaled: a step of the optimizer"),
            fabric::RoutingError);
        CHECK(support::distance(weights(), before) == 0);
        optimizer.step();
        const auto after = weights();
        CHECK(support::distance(after, before) > 0);
        // Its segments are the user's again: nothing is scaled now.
        {
          const torch::NoGradGuard no_grad;
          for (const Tensor& parameter : optimizer.param_groups()[0].params()) {
            CHECK_NOTHROW(parameter.mul_(0.5));
          }
        }
        CHECK(support::distance(weights(), after) > 0);
      }
    };
    check([](std::vector<Tensor> p) { return torch::optim::SGD(std::move(p), 0.1); });
    check([](std::vector<Tensor> p) { return torch::optim::AdamW(std::move(p), 0.1); });
    check([](std::vector<Tensor> p) { return fabric::FusedAdamW(std::move(p), {.lr = 0.1}); });
    check([](std::vector<Tensor> p) { return fabric::FusedSGD(std::move(p), {.lr = 0.1}); });
  }

  TEST_CASE("ranks with overflows of their own agree, in models that nobody synchronises") {
    fabric::Fabric fabric({.strategy = "ddp", .precision = "16-mixed"});
    fabric.launch();
    auto net = support::with_seed(1, [] { return MLP(); });
    auto model = fabric.setup(net);
    auto optimizer = fabric.setup_optimizers(torch::optim::SGD(net->parameters(), 0.1));
    const auto local = fabric.no_backward_sync(model);
    const Tensor before = net->first->weight.detach().clone();
    Tensor loss = model->forward(own(inputs())).square().mean();
    if (world().rank == 0) {
      loss = loss * std::numeric_limits<float>::quiet_NaN();
    }
    fabric.backward(loss);
    optimizer.step();
    CHECK(torch::equal(net->first->weight, before));
  }

  TEST_CASE("clipping under 16-mixed clips unscaled gradients, over shards too") {
    for (const fabric::StrategyChoice& strategy :
         {fabric::StrategyChoice("ddp"), fabric::StrategyChoice(support::kLinearUnits)}) {
      CAPTURE(strategy.to_text());
      std::vector<double> norms;
      for (const char* precision : {"32-true", "16-mixed"}) {
        fabric::Fabric fabric({.strategy = strategy, .precision = std::string(precision)});
        fabric.launch();
        auto net = support::with_seed(1, [] { return MLP(); });
        auto model = fabric.setup(net);
        auto optimizer = fabric.setup_optimizers(torch::optim::SGD(net->parameters(), 0.1));
        fabric.backward(model->forward(own(inputs())).square().mean());
        norms.push_back(fabric.clip_gradients(model, optimizer, {.max_norm = 0.01}).item<double>());
        CHECK(fabric.gradient_norm(optimizer).item<double>() ==
              doctest::Approx(0.01).epsilon(1e-3));
        optimizer.step();
      }
      CHECK(norms[0] == doctest::Approx(norms[1]).epsilon(0.01));
    }
  }

  TEST_CASE("ddp sends gradients in a smaller dtype, with the error that this has") {
    const auto gradients = [](fabric::DDPOptions options) {
      fabric::Fabric fabric({.strategy = options});
      fabric.launch();
      auto net = support::with_seed(1, [] { return MLP(); });
      auto model = fabric.setup(net);
      std::vector<Tensor> result;
      for (int round = 0; round < 3; ++round) {  // the first lays out, later ones overlap
        net->zero_grad();
        fabric.backward(model->forward(own(inputs())).square().mean());
      }
      for (const Tensor& parameter : net->parameters()) {
        CHECK((parameter.grad().scalar_type() == torch::kFloat));
        result.push_back(parameter.grad().flatten().to(torch::kDouble));
      }
      return torch::cat(result);
    };
    const Tensor exact = gradients({});
    for (const auto& [dtype, epsilon] :
         {std::pair("bfloat16", 0x1p-8), std::pair("float16", 0x1p-11)}) {
      CAPTURE(std::string(dtype));
      const Tensor rounded = gradients({.reduce_dtype = fabric::DtypeChoice(std::string(dtype))});
      const double error = ((rounded - exact).norm() / exact.norm()).item<double>();
      if (world().size == 1) {
        CHECK(error == 0);  // nothing is sent
      } else {
        CHECK(error > epsilon / 50);
        CHECK(error < epsilon);
      }
      const Tensor mine = rounded.clone();
      fabric::Fabric fabric;
      fabric.launch();
      CHECK(torch::equal(fabric.broadcast(mine, 0), rounded));  // the same on all ranks
    }
    CHECK(torch::equal(gradients({.reduce_dtype = "float64"}), exact));  // never a larger one
  }
}
