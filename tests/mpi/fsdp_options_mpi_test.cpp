// What the options of fsdp change, and that they change nothing else. Runs at 1, 2, 3 and 4 ranks.
#include <doctest/doctest.h>

#include <sstream>

#include <torch/torch.h>

#include <tests/support/sharding.h>

namespace {

using support::distance;
using support::double_net;
using support::kExact;
using support::MLP;
using support::own;
using support::rows;
using support::Twin;
using support::with_seed;
using torch::Tensor;

fabric::FSDPOptions with(fabric::FSDPOptions options) {
  options.units = {"Linear"};
  return options;
}

MLP float_mlp(int64_t seed = 1) {
  return with_seed(seed, [] { return MLP(); });
}

std::vector<Tensor> copies(const std::vector<Tensor>& tensors) {
  std::vector<Tensor> list;
  for (const Tensor& tensor : tensors) {
    list.push_back(tensor.detach().clone());
  }
  return list;
}

std::vector<int> divisors(int number) {
  std::vector<int> list;
  for (int i = 1; i <= number; ++i) {
    if (number % i == 0) {
      list.push_back(i);
    }
  }
  return list;
}

/// Trains in bfloat16 on fp32 values as param_dtype does, but on one process: the gradients of each
/// rank's part are averaged in fp32.
struct Bfloat16Reference {
  void step(const Tensor& x) {
    std::vector<Tensor> mean;
    const int world = fabric::world().size;
    for (int rank = 0; rank < world; ++rank) {
      MLP rounded = float_mlp();
      const torch::NoGradGuard no_grad;
      for (std::size_t i = 0; i < rounded->parameters().size(); ++i) {
        rounded->parameters()[i].copy_(master->parameters()[i]);
      }
      rounded->to(torch::kBFloat16);
      const torch::AutoGradMode with_gradients(true);
      const Tensor outputs = rounded->forward(support::part(x, rank, world).to(torch::kBFloat16));
      outputs.square().mean().backward();
      for (std::size_t i = 0; i < rounded->parameters().size(); ++i) {
        const Tensor gradient = rounded->parameters()[i].grad().to(torch::kFloat) / world;
        rank == 0 ? mean.push_back(gradient) : void(mean[i] += gradient);
      }
    }
    const torch::NoGradGuard no_grad;
    for (std::size_t i = 0; i < mean.size(); ++i) {
      master->parameters()[i].sub_(mean[i], 0.1);
    }
  }
  MLP master = float_mlp();
};

}  // namespace

TEST_SUITE("mpi.fsdp_options") {
  TEST_CASE("every sharding with every number of replicas trains like one process") {
    const Tensor x = rows({6});
    const int world = fabric::world().size;
    std::vector<fabric::FSDPOptions> all = {{.sharding = "none"},
                                            {.sharding = "none", .replicas = world},
                                            {.sharding = "hybrid"},
                                            {.sharding = "full", .cpu_offload = true}};
    for (const int replicas : divisors(world)) {
      all.push_back({.sharding = "full", .replicas = replicas});
      all.push_back({.sharding = "grad_op", .replicas = replicas});
      all.push_back({.sharding = "hybrid", .replicas = replicas});
    }
    for (const fabric::FSDPOptions& options : all) {
      Twin<MLP, torch::optim::AdamW> twin(0.01, with(options));
      for (int i = 0; i < 4; ++i) {
        twin.step(x);
      }
      CHECK(twin.error() < kExact);
      const int replicas = options.sharding.is("none") ? world : std::max(1, options.replicas);
      const fabric::ShardLayout& layout = twin.engine().unit(0).layout();
      CHECK(layout.total == layout.shard * (world / replicas));
    }
  }

  TEST_CASE("replicas that do not divide the world are an error") {
    const int world = fabric::world().size;
    fabric::Fabric uneven({.strategy = fabric::FSDPOptions{.replicas = world + 1}});
    CHECK_THROWS_WITH_AS(uneven.launch(), doctest::Contains("expected a divisor of the number"),
                         fabric::MisconfigurationError);
    fabric::Fabric negative;
    CHECK_THROWS_WITH_AS(fabric::Fabric({.strategy = fabric::FSDPOptions{.replicas = -1}}),
                         doctest::Contains("replicas=-1"), fabric::MisconfigurationError);
    if (world > 1) {
      fabric::Fabric whole({.strategy = fabric::FSDPOptions{.sharding = "none", .replicas = 1}});
      CHECK_THROWS_WITH_AS(whole.launch(), doctest::Contains("as many replicas as processes"),
                           fabric::MisconfigurationError);
    }
  }

  TEST_CASE("grad_op gathers each unit once between two steps of an optimizer") {
    const Tensor x = rows({6});
    Twin<MLP> twin(0.1, with({.sharding = "grad_op"}));
    for (int i = 0; i < 3; ++i) {
      const auto before = twin.engine().events().gathers;
      twin.step(x);
      CHECK(twin.engine().events().gathers == before + 3);
    }
    const torch::NoGradGuard no_grad;
    const auto before = twin.engine().events().gathers;
    twin.model->forward(own(x));
    twin.model->forward(own(x));
    CHECK(twin.engine().events().gathers == before + 3);
  }

  TEST_CASE("accumulation in shards reduces each backward and gives the same numbers") {
    const Tensor x = rows({6}), y = rows({6}, 9);
    Twin<MLP, torch::optim::AdamW> twin(0.01, with({.accumulation = "sharded"}));
    for (int i = 0; i < 3; ++i) {
      twin.step(
          [&] {
            twin.reference->forward(x).square().mean().backward();
            twin.reference->forward(y).square().mean().backward();
          },
          [&] {
            const auto before = twin.engine().events().reductions;
            {
              const auto guard = twin.fabric.no_backward_sync(twin.model);
              twin.fabric.backward(twin.model->forward(own(x)).square().mean());
              CHECK(twin.engine().events().reductions == before + 3);
            }
            twin.fabric.backward(twin.model->forward(own(y)).square().mean());
          });
    }
    CHECK(twin.error() < kExact);
  }

  TEST_CASE("two optimizers over the parameters of one unit, zeroed at different times") {
    const Tensor x = rows({6});
    fabric::Fabric fabric({.strategy = fabric::FSDPOptions{}});
    fabric.launch();
    MLP reference = double_net<MLP>(), net = double_net<MLP>();
    const auto half = [](MLP& one, bool weights) {
      std::vector<Tensor> list;
      for (const auto& item : one->named_parameters()) {
        if ((item.key().find("bias") == std::string::npos) == weights) {
          list.push_back(item.value());
        }
      }
      return list;
    };
    torch::optim::SGD reference_weights(half(reference, true), 0.1);
    torch::optim::SGD reference_biases(half(reference, false), 0.1);
    auto model = fabric.setup(net);
    auto [weights, biases] = fabric.setup_optimizers(torch::optim::SGD(half(net, true), 0.1),
                                                     torch::optim::SGD(half(net, false), 0.1));
    for (int i = 0; i < 4; ++i) {
      reference_weights.zero_grad();
      weights.zero_grad();
      if (i % 2 == 1) {
        reference_biases.zero_grad();
        biases.zero_grad();
      }
      reference->forward(x).square().mean().backward();
      fabric.backward(model->forward(own(x)).square().mean());
      reference_weights.step();
      weights.step();
      if (i % 2 == 1) {
        reference_biases.step();
        biases.step();
      }
    }
    CHECK(distance(net->parameters(), reference->parameters()) < kExact);
  }

  TEST_CASE("a parameter that is listed twice is stepped twice, as by LibTorch") {
    struct TiedImpl : torch::nn::Module {
      TiedImpl()
          : first(register_module("first", torch::nn::Linear(6, 6))),
            second(register_module("second", torch::nn::Linear(6, 6))) {
        second->weight = first->weight;
        second->register_parameter("tied", first->weight);
        to(torch::kDouble);
      }
      Tensor forward(Tensor x) { return torch::linear(torch::tanh(first(x)), first->weight); }
      torch::nn::Linear first, second;
    };
    const Tensor x = rows({6});
    const auto reference = with_seed(1, [] { return std::make_shared<TiedImpl>(); });
    const auto net = with_seed(1, [] { return std::make_shared<TiedImpl>(); });
    REQUIRE(net->parameters().size() == 5);
    torch::optim::Adam reference_optimizer(reference->parameters(), 0.01);
    fabric::Fabric fabric({.strategy = fabric::FSDPOptions{.units = {"Linear"}}});
    fabric.launch();
    auto model = fabric.setup(net);
    auto optimizer = fabric.setup_optimizers(torch::optim::Adam(net->parameters(), 0.01));
    for (int i = 0; i < 4; ++i) {
      reference_optimizer.zero_grad();
      reference->forward(x).square().mean().backward();
      reference_optimizer.step();
      optimizer.zero_grad();
      fabric.backward(model->forward(own(x)).square().mean());
      optimizer.step();
    }
    CHECK(distance(net->parameters(), reference->parameters()) < kExact);
  }

  TEST_CASE("param_dtype computes in bfloat16 on fp32 shards") {
    const Tensor x = rows({6}).to(torch::kFloat);
    Bfloat16Reference reference;
    fabric::Fabric fabric(
        {.strategy = with(
             {.param_dtype = "bfloat16", .reduce_dtype = "float32", .output_dtype = "float32"})});
    fabric.launch();
    MLP net = float_mlp();
    auto model = fabric.setup(net);
    auto optimizer = fabric.setup_optimizers(torch::optim::SGD(net->parameters(), 0.1));
    CHECK((net->first->weight.scalar_type() == torch::kBFloat16));
    CHECK((optimizer.param_groups()[0].params()[0].scalar_type() == torch::kFloat));
    for (int i = 0; i < 3; ++i) {
      reference.step(x);
      optimizer.zero_grad();
      const Tensor outputs = model->forward(own(x));
      CHECK((outputs.scalar_type() == torch::kFloat));
      fabric.backward(outputs.to(torch::kBFloat16).square().mean());
      CHECK((net->first->weight.grad().scalar_type() == torch::kFloat));
      optimizer.step();
    }
    const auto guard = fabric.full_parameters(model);
    CHECK((net->first->weight.scalar_type() == torch::kFloat));
    CHECK(distance(net->parameters(), reference.master->parameters()) < 1e-6);
  }

  TEST_CASE("reading and writing rounded parameters keeps the precision of the shards") {
    fabric::Fabric fabric({.strategy = with({.param_dtype = "bfloat16"})});
    fabric.launch();
    MLP reference = float_mlp(), net = float_mlp();
    auto model = fabric.setup(net);
    const torch::NoGradGuard no_grad;
    net->second->weight.clamp_(-0.05, 0.05);
    net->third->weight.copy_(net->third->weight.clone());
    std::vector<Tensor> values;
    {
      const auto guard = fabric.full_parameters(model);
      values = copies(net->parameters());
    }
    CHECK(distance({values[0], values[1], values[4]},
                   {reference->first->weight, reference->first->bias, reference->third->weight}) ==
          0);
    const Tensor before = reference->second->weight;
    const Tensor bound = torch::tensor(0.05).to(torch::kBFloat16).to(torch::kFloat);
    const Tensor rounded = before.to(torch::kBFloat16).to(torch::kFloat);
    const Tensor expected = torch::where(rounded.abs() <= bound, before, before.sign() * bound);
    CHECK(distance({values[2]}, {expected}) == 0);
  }

  TEST_CASE("fp32 values are loaded into a model that is gathered in bfloat16") {
    const MLP saved = float_mlp(5);
    std::stringstream file;
    torch::save(saved, file);
    fabric::Fabric fabric({.strategy = with({.param_dtype = "bfloat16"})});
    fabric.launch();
    for (const bool inside : {true, false}) {
      MLP net = float_mlp();
      auto model = fabric.setup(net);
      std::stringstream copy(file.str());
      if (inside) {
        const auto guard = fabric.full_parameters(model);
        torch::load(net, copy);
      } else {
        torch::load(net, copy);
      }
      {
        const torch::NoGradGuard no_grad;
        model->forward(rows({6}).to(torch::kFloat));
      }
      CHECK((net->first->weight.scalar_type() == torch::kBFloat16));
      const auto guard = fabric.full_parameters(model);
      CHECK(distance(net->parameters(), saved->parameters()) == 0);
    }
  }

  TEST_CASE("full_parameters between forward and backward, and a forward inside it") {
    const Tensor x = rows({6});
    Twin<MLP> twin(0.1);
    for (int i = 0; i < 3; ++i) {
      twin.step([&] { (twin.reference->forward(x).square().mean() * 2).backward(); },
                [&] {
                  const Tensor first = twin.model->forward(own(x)).square().mean();
                  Tensor second;
                  {
                    const auto guard = twin.fabric.full_parameters(twin.model);
                    second = twin.model->forward(own(x)).square().mean();
                  }
                  twin.fabric.backward(first + second);
                });
    }
    CHECK(twin.error() < kExact);
  }

  TEST_CASE("reduce_dtype averages in bfloat16, the optimizer works in fp32") {
    const Tensor x = rows({6}).to(torch::kFloat);
    fabric::Fabric fabric({.strategy = with({.reduce_dtype = "bfloat16"})});
    fabric.launch();
    MLP reference = float_mlp(), net = float_mlp();
    auto model = fabric.setup(net);
    auto optimizer = fabric.setup_optimizers(torch::optim::SGD(net->parameters(), 0.1));
    reference->forward(x).square().mean().backward();
    fabric.backward(model->forward(own(x)).square().mean());
    for (std::size_t i = 0; i < 6; ++i) {
      const Tensor gradient = net->parameters()[i].grad();
      const Tensor expected = reference->parameters()[i].grad();
      CHECK((gradient.scalar_type() == torch::kBFloat16));
      CHECK(torch::allclose(gradient.to(torch::kFloat), expected, 0.02, 1e-3));
    }
    CHECK((optimizer.param_groups()[0].params()[0].grad().scalar_type() == torch::kFloat));
    optimizer.step();
    torch::optim::SGD(reference->parameters(), 0.1).step();
    CHECK(distance(net->parameters(), reference->parameters()) < 1e-3);
  }

  TEST_CASE("buffer_dtype and output_dtype convert floating-point tensors only") {
    struct NormImpl : torch::nn::Module {
      NormImpl() : norm(register_module("norm", torch::nn::BatchNorm1d(6))) {}
      std::pair<Tensor, Tensor> forward(Tensor x) {
        return {norm(x.to(torch::kFloat)), torch::arange(3)};
      }
      torch::nn::BatchNorm1d norm;
    };
    fabric::Fabric fabric(
        {.strategy = fabric::FSDPOptions{.buffer_dtype = "float64", .output_dtype = "bfloat16"}});
    fabric.launch();
    const auto net = std::make_shared<NormImpl>();
    auto model = fabric.setup(net);
    CHECK((net->norm->running_mean.scalar_type() == torch::kDouble));
    CHECK((net->norm->num_batches_tracked.scalar_type() == torch::kLong));
    net->eval();
    net->norm->running_mean = net->norm->running_mean.to(torch::kFloat);
    net->norm->running_var = net->norm->running_var.to(torch::kFloat);
    const auto [outputs, numbers] = model->forward(own(rows({6})));
    CHECK((outputs.scalar_type() == torch::kBFloat16));
    CHECK((numbers.scalar_type() == torch::kLong));
  }

  TEST_CASE("converted buffers stay synchronised by a BatchNorm that was converted before") {
    const auto make = [] {
      return with_seed(1, [] {
        return torch::nn::Sequential(torch::nn::Linear(6, 5), torch::nn::BatchNorm1d(5));
      });
    };
    const Tensor x = rows({6});
    torch::nn::Sequential reference = make(), net = make();
    reference->forward(x.to(torch::kFloat));
    net->to(torch::kDouble);
    fabric::Fabric fabric(
        {.strategy = fabric::FSDPOptions{.param_dtype = "float32", .buffer_dtype = "float32"}});
    fabric.launch();
    CHECK(fabric.convert_sync_batchnorm(net) == 1);
    auto model = fabric.setup(net);
    fabric.backward(model->forward(own(x)).square().mean());
    for (std::size_t i = 0; i < 2; ++i) {
      CHECK((net->buffers()[i].scalar_type() == torch::kFloat));
      CHECK(distance({net->buffers()[i]}, {reference->buffers()[i]}) < 1e-5);
    }
  }

  TEST_CASE("the options are read from text and written back") {
    const std::string text =
        "fsdp(sharding=hybrid, replicas=2, units=Block+head, accumulation=sharded, "
        "param_dtype=bfloat16, reduce_dtype=float32, cpu_offload=true)";
    const auto choice = fabric::StrategyChoice::from_text(text);
    CHECK(choice.to_text() == text);
    CHECK(choice.fsdp().sharding.is("hybrid"));
    CHECK_THROWS_WITH_AS(fabric::StrategyChoice::from_text("fsdp(param_dtype=bf8)"),
                         doctest::Contains("unknown dtype; got 'bf8' from the option param_dtype"),
                         fabric::MisconfigurationError);
  }
}
