// fabric::checkpoint under every strategy: the numbers of one process without it, the memory it is
// for, and the rounds and gathers of the engines. Runs at 1 to 4 ranks.
#include <doctest/doctest.h>

#include <functional>

#include <torch/torch.h>

#include <fabric/fabric.h>
#include <strategies/backward_collective.h>
#include <strategies/ddp.h>
#include <strategies/fsdp.h>

#include <tests/support/counted_memory.h>
#include <tests/support/training.h>

namespace {

using fabric::checkpoint;
using support::distance;
using support::part;
using support::with_seed;
using torch::Tensor;
namespace nn = torch::nn;

constexpr double kExact = 1e-12;  // fp64

struct BlockImpl : nn::Module {
  explicit BlockImpl(int64_t width)
      : up(register_module("up", nn::Linear(width, 4 * width))),
        down(register_module("down", nn::Linear(4 * width, width))),
        dropout(register_module("dropout", nn::Dropout(0.3))) {}
  Tensor forward(const Tensor& x) { return x + down(dropout(torch::gelu(up(x)))); }
  std::shared_ptr<BlockImpl> self() {
    return std::dynamic_pointer_cast<BlockImpl>(shared_from_this());
  }
  nn::Linear up, down;
  nn::Dropout dropout;
};
TORCH_MODULE(Block);

struct NetImpl : nn::Module {
  explicit NetImpl(bool with_checkpoints, int64_t width = 6, int64_t depth = 3)
      : with_checkpoints(with_checkpoints),
        in(register_module("in", nn::Linear(width, width))),
        blocks(register_module("blocks", nn::ModuleList())),
        norm(register_module("norm", nn::BatchNorm1d(width))) {
    for (int64_t i = 0; i < depth; ++i) {
      blocks->push_back(Block(width));
    }
    eval();  // dropout on demand
    to(torch::kDouble);
  }
  template <class Function, class... Args>
  auto run(Function function, const Args&... args) {
    auto call = fabric::detail::checkpointed_function(function);
    return with_checkpoints ? checkpoint(function, args...) : Tensor(std::invoke(call, args...));
  }
  Tensor forward(Tensor x) {
    x = in(x);
    for (auto& block : *blocks) {
      x = run(block->as<Block>()->self(), x);
    }
    return x;
  }
  bool with_checkpoints;
  nn::Linear in;
  nn::ModuleList blocks;
  nn::BatchNorm1d norm;
};
TORCH_MODULE(Net);

using Loss = std::function<Tensor(NetImpl&, const Tensor&)>;

Tensor square_loss(NetImpl& net, const Tensor& x) {
  return net.forward(x).square().mean();
}

Tensor rows(int64_t width = 6) {
  torch::manual_seed(7);
  return torch::randn({4L * fabric::world().size, width}, torch::kDouble);
}

Tensor own(const Tensor& whole) {
  return part(whole, fabric::world().rank, fabric::world().size);
}

struct Outcome {
  std::vector<double> losses;
  std::vector<Tensor> tensors;  // parameters and buffers
};

std::vector<fabric::StrategyChoice> strategies() {
  std::vector<fabric::StrategyChoice> list{"ddp", fabric::FSDPOptions{.units = {"Block"}}};
  if (fabric::world().size == 1) {
    list.push_back("single_device");
  }
  return list;
}

struct Variant {
  fabric::StrategyChoice strategy = "ddp";
  bool with_checkpoints = true;
  bool explicit_backward = true;  // fabric.backward(loss), else loss.backward()
  bool routed = true;
  bool train_mode = false;
  bool sync_batch_norm = false;
  int steps = 4;
};

std::vector<Tensor> tensors_of(NetImpl& net) {
  std::vector<Tensor> tensors;
  for (const Tensor& tensor : net.parameters()) {
    tensors.push_back(tensor.detach().clone());
  }
  for (const Tensor& tensor : net.buffers()) {
    tensors.push_back(tensor.clone());
  }
  return tensors;
}

Outcome train(const Variant& variant, const Loss& loss_of, const Tensor& inputs) {
  fabric::Fabric fabric({.strategy = variant.strategy});
  fabric.launch();
  Net net = with_seed(1, [&] { return Net(variant.with_checkpoints); });
  net->train(variant.train_mode);
  auto model = fabric.setup(net);
  if (variant.sync_batch_norm) {
    fabric.convert_sync_batchnorm(net);
  }
  auto optimizer =
      fabric.setup_optimizers(torch::optim::SGD(net->parameters(), torch::optim::SGDOptions(0.1)));
  torch::manual_seed(5 + fabric.global_rank());
  Outcome outcome;
  for (int step = 0; step < variant.steps; ++step) {
    optimizer.zero_grad();
    const auto call = [&] { return loss_of(*net, own(inputs)); };
    const Tensor loss = variant.routed ? fabric.routed(call, model) : call();
    if (variant.explicit_backward) {
      fabric.backward(loss);
    } else {
      loss.backward();
    }
    optimizer.step();
    outcome.losses.push_back(fabric.mean(loss.item<double>()));
  }
  outcome.tensors = tensors_of(*net);
  return outcome;
}

Outcome train_alone(const Loss& loss_of, const Tensor& inputs, int steps = 4) {
  Net net = with_seed(1, [] { return Net(false); });
  torch::optim::SGD optimizer(net->parameters(), 0.1);
  Outcome outcome;
  for (int step = 0; step < steps; ++step) {
    optimizer.zero_grad();
    const Tensor loss = loss_of(*net, inputs);
    loss.backward();
    optimizer.step();
    outcome.losses.push_back(loss.item<double>());
  }
  outcome.tensors = tensors_of(*net);
  return outcome;
}

void check_same(const Outcome& got, const Outcome& expected) {
  REQUIRE(got.losses.size() == expected.losses.size());
  for (std::size_t i = 0; i < got.losses.size(); ++i) {
    CHECK(std::abs(got.losses[i] - expected.losses[i]) < kExact);
  }
  CHECK(distance(got.tensors, expected.tensors) < kExact);
}

/// Every strategy, way to call and way to run backward, against one process without checkpoints.
void compare(const Loss& loss_of) {
  const Tensor inputs = rows();
  const Outcome expected = train_alone(loss_of, inputs);
  for (const auto& strategy : strategies()) {
    for (const bool explicit_backward : {true, false}) {
      for (const bool routed : {true, false}) {
        CAPTURE(strategy.to_text());
        CAPTURE(explicit_backward);
        CAPTURE(routed);
        check_same(
            train({.strategy = strategy, .explicit_backward = explicit_backward, .routed = routed},
                  loss_of, inputs),
            expected);
      }
    }
  }
}

/// With and without checkpoints, under the same strategy.
void compare_within(Variant variant, const Loss& loss_of) {
  const Tensor inputs = rows();
  for (const auto& strategy : strategies()) {
    CAPTURE(strategy.to_text());
    variant.strategy = strategy;
    variant.with_checkpoints = false;
    const Outcome expected = train(variant, loss_of, inputs);
    variant.with_checkpoints = true;
    check_same(train(variant, loss_of, inputs), expected);
  }
}

}  // namespace

TEST_SUITE("mpi.activation_checkpoint") {
  TEST_CASE("losses and parameters are those of one process without checkpoints") {
    SUBCASE("blocks") {
      compare(square_loss);
    }
    SUBCASE("nested, shared and used outside") {
      compare([](NetImpl& net, const Tensor& x) {
        Block first(net.blocks->ptr<BlockImpl>(0)), second(net.blocks->ptr<BlockImpl>(1));
        const Tensor y = net.run(
            [&net, first, second](const Tensor& in) mutable {
              return second(net.run(first, net.run(first, in).tanh()));
            },
            net.in(x));
        return (y + first(y)).square().mean() + first->up->weight.square().sum() * 0.01;
      });
    }
    SUBCASE("parameters as arguments and captured, computed before and inside") {
      compare([](NetImpl& net, const Tensor& x) {
        Block block(net.blocks->ptr<BlockImpl>(0));
        const Tensor scale = block->up->bias.narrow(0, 0, 6).exp();
        const Tensor y = net.run(
            [=](const Tensor& weight, const Tensor& in) mutable {
              return block(torch::linear(in, weight)) * scale;
            },
            net.in->weight, x);
        return y.square().mean();
      });
    }
  }

  TEST_CASE("dropout, the same masks") {
    compare_within({.train_mode = true}, square_loss);
    compare_within({.explicit_backward = false, .routed = false, .train_mode = true}, square_loss);
  }

  TEST_CASE("batch norm over ranks inside a checkpoint; statistics are updated once") {
    bool communicates = fabric::world().size > 1;
    const Loss loss = [&](NetImpl& net, const Tensor& x) {
      const Tensor y = net.run(
          nn::Sequential(nn::Functional([&net](const Tensor& in) { return net.forward(in); }),
                         net.norm),
          x);
      if (net.with_checkpoints && communicates) {
        CHECK(fabric::CommunicatingGraph::any());
      }
      return y.pow(3).mean();
    };
    compare_within({.train_mode = true, .sync_batch_norm = true}, loss);
    CHECK_FALSE(fabric::CommunicatingGraph::any());
    communicates = false;
    compare_within({.train_mode = true}, loss);
  }

  TEST_CASE("ranks whose loss misses a checkpointed block") {
    compare_within({}, [](NetImpl& net, const Tensor& x) {
      Tensor y = net.in(x);
      for (std::size_t i = 0; i < 3; ++i) {
        if (i == 2 && fabric::world().rank == 0) {
          y = y.detach();
        }
        y = net.run(net.blocks->ptr<BlockImpl>(i), y);
      }
      return y.square().mean();
    });
  }

  TEST_CASE("a routed call inside is announced once") {
    // Each announcement sends rank 0's buffers: in backward nobody would answer where a rank's loss
    // misses the function.
    const Tensor inputs = rows();
    for (const auto& strategy : strategies()) {
      CAPTURE(strategy.to_text());
      std::vector<std::vector<Tensor>> gradients;
      for (const bool with_checkpoints : {false, true}) {
        fabric::Fabric fabric({.strategy = strategy});
        fabric.launch();
        Net net = with_seed(1, [] { return Net(false); });
        net->train();
        auto model = fabric.setup(net);
        const Tensor other = torch::ones({1}, torch::requires_grad());
        torch::manual_seed(5 + fabric.global_rank());
        Tensor y = with_checkpoints ? checkpoint(model, own(inputs)) : model->forward(own(inputs));
        if (fabric.global_rank() == 0 && fabric.world_size() > 1) {
          y = y.detach();
        }
        fabric.backward((y * other).square().mean());
        gradients.emplace_back();
        for (const Tensor& parameter : net->parameters()) {
          if (parameter.grad().defined()) {
            gradients.back().push_back(parameter.grad().clone());
          }
        }
      }
      CHECK(gradients[0].size() == 14);
      CHECK(distance(gradients[0], gradients[1]) < kExact);
    }
  }

  TEST_CASE("gradients accumulate as without it") {
    const Tensor inputs = rows();
    for (const auto& strategy : strategies()) {
      CAPTURE(strategy.to_text());
      std::vector<std::vector<Tensor>> gradients;
      for (const bool with_checkpoints : {false, true}) {
        fabric::Fabric fabric({.strategy = strategy});
        fabric.launch();
        Net net = with_seed(1, [&] { return Net(with_checkpoints); });
        auto model = fabric.setup(net);
        {
          const auto local = fabric.no_backward_sync(model);
          fabric.backward(model->forward(own(inputs)).square().mean());
        }
        fabric.backward(model->forward(own(inputs) * 2).square().mean());
        gradients.emplace_back();
        for (const Tensor& parameter : net->parameters()) {
          if (parameter.grad().defined()) {
            gradients.back().push_back(parameter.grad().clone());
          }
        }
      }
      CHECK(gradients[0].size() == 14);
      CHECK(distance(gradients[0], gradients[1]) < kExact);
    }
  }

  TEST_CASE("one round a backward, reduced while it runs; units bounded, activations not kept") {
    const int64_t width = 32, depth = 6;
    for (const bool explicit_backward : {true, false}) {
      fabric::Fabric fabric({.strategy = fabric::FSDPOptions{.units = {"Block"}}});
      fabric.launch();
      Net net(true, width, depth);
      auto model = fabric.setup(net);
      {
        net->with_checkpoints = false;
        const support::CountedMemory bytes;
        const Tensor loss = model->forward(torch::randn({64, width}, torch::kDouble)).sum();
        CHECK(bytes.live() >= 9 * depth * 64 * width * 8);
        net->with_checkpoints = true;
      }
      auto optimizer = fabric.setup_optimizers(torch::optim::SGD(net->parameters(), 0.1));
      const fabric::ShardedModel& sharded = *fabric::sharded_model_of(model.managed());
      std::int64_t largest = 0;
      for (std::size_t u = 0; u < sharded.size(); ++u) {
        largest = std::max(largest, sharded.unit(u).nbytes());
      }
      CHECK(sharded.size() == depth + 2);
      const Tensor x = torch::randn({64, width}, torch::kDouble);
      const std::int64_t activation = 64 * width * 8;
      for (int step = 0; step < 4; ++step) {
        std::int64_t gathers = sharded.events().gathers;
        optimizer.zero_grad();
        const support::CountedMemory bytes;
        const Tensor loss = model->forward(x).square().mean();
        // What comes and goes are the units that are whole now; the rest is kept for backward: x
        // and in's result are needed by Linear, each block keeps its input, square its own.
        const std::int64_t kept = bytes.live() - sharded.events().bytes_live;
        CHECK(kept <= (depth + 3) * activation + 4000);
        if (explicit_backward) {
          fabric.backward(loss);
        } else {
          loss.backward();
        }
        optimizer.step();
        CHECK(sharded.events().rounds == step + 1);
        // Each block once in forward and once in backward: running again and its backward share.
        gathers = sharded.events().gathers - gathers;
        CHECK(gathers <= 2 * static_cast<std::int64_t>(sharded.size()));
      }
      CHECK(sharded.events().early_reductions > 0);
      CHECK(sharded.events().bytes_peak <= 2 * largest);
      CHECK(sharded.events().bytes_live == 0);
    }
  }

  TEST_CASE("ddp: one round a backward, buckets early") {
    for (const bool explicit_backward : {true, false}) {
      fabric::Fabric fabric({.strategy = fabric::DDPOptions{.bucket_mb = 0.001}});
      fabric.launch();
      Net net(true);
      auto model = fabric.setup(net);
      const fabric::GradientSync* sync = fabric::gradient_sync_of(model.managed());
      for (int step = 0; step < 3; ++step) {
        const Tensor loss = model->forward(own(rows())).square().mean();
        if (explicit_backward) {
          fabric.backward(loss);
        } else {
          loss.backward();
        }
        if (fabric.world_size() > 1) {
          REQUIRE(sync != nullptr);
          CHECK(sync->events().rounds == step + 1);
        }
      }
      if (fabric.world_size() > 1) {
        CHECK(sync->events().early_reductions > 0);
      }
    }
  }

  TEST_CASE("an exception when the function runs again leaves usable models") {
    for (const auto& strategy : strategies()) {
      CAPTURE(strategy.to_text());
      fabric::Fabric fabric({.strategy = strategy});
      fabric.launch();
      Net net = with_seed(1, [] { return Net(true); });
      Net reference = with_seed(1, [] { return Net(false); });
      auto model = fabric.setup(net);
      auto fails = model->register_forward_method("fails", [](NetImpl& module, const Tensor& x) {
        return checkpoint(
            [&module](const Tensor& y) {
              const Tensor z = module.blocks->ptr<BlockImpl>(1)->forward(y);
              if (fabric::recomputing()) {
                throw std::invalid_argument("in backward");
              }
              return z;
            },
            module.forward(x));
      });
      const Tensor inputs = rows();
      CHECK_THROWS_AS(fabric.backward(fails(own(inputs)).sum()), std::invalid_argument);
      net->zero_grad();
      fabric.backward(model->forward(own(inputs)).square().mean());
      square_loss(*reference, inputs).backward();
      for (std::size_t i = 0; i < net->parameters().size(); ++i) {
        const Tensor expected = reference->parameters()[i].grad();
        if (expected.defined()) {
          CHECK((net->parameters()[i].grad() - expected).abs().max().item<double>() < kExact);
        }
      }
    }
  }

  TEST_CASE("parameters that were updated between the runs are an error on all ranks") {
    for (const auto& strategy : strategies()) {
      CAPTURE(strategy.to_text());
      fabric::Fabric fabric({.strategy = strategy});
      fabric.launch();
      Net net(true);
      auto model = fabric.setup(net);
      // LibTorch's SGD writes through data(), which no autograd notices.
      auto optimizer = fabric.setup_optimizers(torch::optim::Adam(net->parameters(), 0.1));
      const Tensor inputs = rows();
      fabric.backward(model->forward(own(inputs)).square().mean());
      const Tensor late = model->forward(own(inputs)).square().mean();
      optimizer.step();
      CHECK_THROWS_AS(fabric.backward(late), fabric::Error);
    }
  }

  TEST_CASE("mixed precision: the second run computes in bfloat16 too") {
    for (const auto& strategy : strategies()) {
      CAPTURE(strategy.to_text());
      fabric::Fabric fabric({.strategy = strategy, .precision = "bf16-mixed"});
      fabric.launch();
      const Tensor inputs = own(rows()).to(torch::kFloat);
      std::vector<std::vector<Tensor>> gradients;
      for (const bool with_checkpoints : {false, true}) {
        Net net = with_seed(1, [&] { return Net(with_checkpoints); });
        net->to(torch::kFloat);
        auto model = fabric.setup(net);
        fabric.backward(model->forward(inputs).square().mean());
        gradients.emplace_back();
        for (const Tensor& parameter : net->parameters()) {
          if (parameter.grad().defined()) {
            gradients.back().push_back(parameter.grad().clone());
          }
        }
      }
      CHECK(distance(gradients[0], gradients[1]) == 0);
    }
  }
}
