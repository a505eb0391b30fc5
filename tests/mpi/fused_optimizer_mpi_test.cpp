// Fused optimizers, and elementwise ones of the user's own, under ddp and on shards.
#include <torch/torch.h>

#include <accelerators/error.h>
#include <fabric/optim/optimizers.h>
#include <strategies/flat/optimizer_state.h>

#include <tests/support/sharding.h>

#include <doctest/doctest.h>

namespace {

using support::kExact;
using support::MLP;

const fabric::FSDPOptions kLayers{.units = {"Linear"}};

// Trains a twin: `Ours` under fsdp, `Theirs` on one process, whole batches.
// A step on one process and one over ranks, with the mean square of the outputs as the loss.
void step_both(auto& plain, auto& reference, auto& optimizer, fabric::Fabric& fabric,
               const auto& model, int step) {
  const auto x = support::rows({6}, step);
  plain.zero_grad();
  reference->forward(x).square().mean().backward();
  plain.step();
  optimizer.zero_grad();
  fabric.backward(model->forward(support::own(x)).square().mean());
  optimizer.step();
}

template <class Ours, class Theirs, class OurOptions, class TheirOptions>
void on_shards(const OurOptions& ours, const TheirOptions& theirs,
               fabric::FSDPOptions strategy = kLayers) {
  support::Twin<MLP, Ours, Theirs> twin(ours, theirs, strategy);
  for (int step = 0; step < 5; ++step) {
    twin.step(support::rows({6}, step));
  }
  CHECK(twin.error() < kExact);
}

// An optimizer of the user's own that says it is elementwise: each step goes by the sign of the
// momentum.
struct SignState : torch::optim::OptimizerCloneableParamState<SignState>, fabric::ElementwiseState {
  torch::Tensor momentum;
  void visit_tensors(const TensorVisitor& visit) override { visit(momentum); }
};

struct SignOptions : torch::optim::OptimizerCloneableOptions<SignOptions> {};

class SignSGD : public torch::optim::Optimizer, public fabric::ElementwiseOptimizer {
 public:
  explicit SignSGD(std::vector<torch::Tensor> parameters, double lr = 0.01)
      : Optimizer(std::move(parameters), std::make_unique<SignOptions>()), lr_(lr) {}
  torch::Tensor step(LossClosure = nullptr) override {
    const torch::NoGradGuard no_grad;
    for (auto& group : param_groups_) {
      for (auto& p : group.params()) {
        if (!p.grad().defined()) {
          continue;
        }
        auto& state = state_[p.unsafeGetTensorImpl()];
        if (!state) {
          state = std::make_unique<SignState>();
          static_cast<SignState&>(*state).momentum = torch::zeros_like(p);
        }
        auto& momentum = static_cast<SignState&>(*state).momentum;
        momentum.mul_(0.9).add_(p.grad());
        p.sub_(lr_ * momentum.tanh());
      }
    }
    return {};
  }

 private:
  double lr_;
};

// One that declares nothing.
class Undeclared : public SignSGD {
 public:
  using SignSGD::SignSGD;
  bool is_elementwise() const override { return false; }
};

}  // namespace

TEST_CASE("fused optimizers on shards do what LibTorch's do on one process") {
  using namespace torch::optim;
  on_shards<fabric::FusedAdamW, AdamW>(
      fabric::FusedAdamWOptions{.lr = 0.01, .weight_decay = 0.1, .amsgrad = true},
      AdamWOptions(0.01).weight_decay(0.1).amsgrad(true));
  on_shards<fabric::FusedAdam, Adam>(fabric::FusedAdamOptions{.lr = 0.01}, AdamOptions(0.01));
  on_shards<fabric::FusedSGD, SGD>(fabric::FusedSGDOptions{.lr = 0.1, .momentum = 0.9},
                                   SGDOptions(0.1).momentum(0.9));
  on_shards<fabric::FusedAdagrad, Adagrad>(fabric::FusedAdagradOptions{.lr = 0.1, .lr_decay = 0.1},
                                           AdagradOptions(0.1).lr_decay(0.1));
  on_shards<fabric::Lion, fabric::Lion>(fabric::LionOptions{.lr = 0.01, .weight_decay = 0.1},
                                        fabric::LionOptions{.lr = 0.01, .weight_decay = 0.1});
  on_shards<fabric::FusedAdamW, AdamW>(fabric::FusedAdamWOptions{.lr = 0.01}, AdamWOptions(0.01),
                                       {.sharding = "grad_op", .units = {"Linear"}});
}

TEST_CASE("decay groups, a frozen layer and layers without a gradient on shards") {
  fabric::Fabric fabric({.strategy = kLayers});
  fabric.launch();
  auto reference = support::double_net<MLP>(), net = support::double_net<MLP>();
  auto model = fabric.setup(net);
  fabric::FusedAdamW plain(fabric::decay_groups(reference, {.lr = 0.01, .weight_decay = 0.5}));
  auto optimizer = fabric.setup_optimizers(
      fabric::FusedAdamW(fabric::decay_groups(net, {.lr = 0.01, .weight_decay = 0.5})));
  for (int step = 0; step < 6; ++step) {
    const auto x = support::rows({6}, step);
    const auto loss = [&](auto& model, const torch::Tensor& x) {
      // Now and then the bias of the last layer is not used.
      return step % 3 == 1 ? torch::tanh(model->second(torch::tanh(model->first(x)))).mean()
                           : model->forward(x).square().mean();
    };
    plain.zero_grad();
    loss(reference, x).backward();
    plain.step();
    optimizer.zero_grad();
    fabric.backward(loss(net, support::own(x)));
    optimizer.step();
  }
  CHECK(support::distance(net->parameters(), reference->parameters()) < kExact);
}

TEST_CASE("a fused optimizer that was stepped before is set up with its state") {
  fabric::Fabric fabric({.strategy = kLayers});
  fabric.launch();
  auto reference = support::double_net<MLP>(), net = support::double_net<MLP>();
  torch::optim::AdamW plain(reference->parameters(), torch::optim::AdamWOptions(0.01));
  torch::optim::AdamW early(net->parameters(), torch::optim::AdamWOptions(0.01));
  const auto train = [&](auto& optimizer, auto& net, int step) {
    optimizer.zero_grad();
    net->forward(support::rows({6}, step)).square().mean().backward();
    optimizer.step();
  };
  for (int step = 0; step < 3; ++step) {
    train(plain, reference, step);
    train(early, net, step);
  }
  auto fused = fabric::fuse(std::move(early));
  train(plain, reference, 3);
  train(fused, net, 3);
  auto model = fabric.setup(net);
  auto optimizer = fabric.setup_optimizers(std::move(fused));
  CHECK(fabric::state_bytes(optimizer.optimizer()) > 0);
  for (int step = 4; step < 7; ++step) {
    train(plain, reference, step);
    optimizer.zero_grad();
    fabric.backward(model->forward(support::own(support::rows({6}, step))).square().mean());
    optimizer.step();
  }
  CHECK(support::distance(net->parameters(), reference->parameters()) < kExact);
}

// Parameters of a sharded model lie on memory that comes and goes: operators gather it.
TEST_CASE("a fused optimizer that is not set up reaches the shards") {
  const auto check = [](auto ours_of, auto theirs_of) {
    fabric::Fabric fabric({.strategy = kLayers, .unrouted = "allow"});
    fabric.launch();
    auto reference = support::double_net<MLP>(), net = support::double_net<MLP>();
    auto plain = theirs_of(reference->parameters());
    auto model = fabric.setup(net);
    auto optimizer = ours_of(net->parameters());
    for (int step = 0; step < 3; ++step) {
      step_both(plain, reference, optimizer, fabric, model, step);
    }
    CHECK(support::distance(net->parameters(), reference->parameters()) < kExact);
  };
  using Parameters = std::vector<torch::Tensor>;
  using namespace torch::optim;
  check([](Parameters p) { return fabric::FusedAdamW(p, {.lr = 0.01}); },
        [](Parameters p) { return AdamW(p, AdamWOptions(0.01)); });
  check([](Parameters p) { return fabric::FusedAdam(p, {.lr = 0.01, .amsgrad = true}); },
        [](Parameters p) { return Adam(p, AdamOptions(0.01).amsgrad(true)); });
  check([](Parameters p) { return fabric::FusedSGD(p, {.lr = 0.1, .momentum = 0.9}); },
        [](Parameters p) { return SGD(p, SGDOptions(0.1).momentum(0.9)); });
  check(
      [](Parameters p) {
        return fabric::FusedSGD(p, {.lr = 0.1, .momentum = 0.9, .dampening = 0.5});
      },
      [](Parameters p) { return SGD(p, SGDOptions(0.1).momentum(0.9).dampening(0.5)); });
  check([](Parameters p) { return fabric::FusedAdagrad(p, {.lr = 0.1}); },
        [](Parameters p) { return Adagrad(p, AdagradOptions(0.1)); });
  check([](Parameters p) { return fabric::Lion(p, {.lr = 0.01, .weight_decay = 0.1}); },
        [](Parameters p) { return fabric::Lion(p, {.lr = 0.01, .weight_decay = 0.1}); });
}

TEST_CASE("an optimizer of the user's own that declares itself works on shards") {
  fabric::Fabric fabric({.strategy = kLayers});
  fabric.launch();
  auto reference = support::double_net<MLP>(), net = support::double_net<MLP>();
  SignSGD plain(reference->parameters()), early(net->parameters());
  const auto train = [](auto& optimizer, auto& net, int step) {
    optimizer.zero_grad();
    net->forward(support::rows({6}, step)).square().mean().backward();
    optimizer.step();
  };
  train(plain, reference, 0);
  train(early, net, 0);
  auto model = fabric.setup(net);
  auto optimizer = fabric.setup_optimizers(std::move(early));  // its state is cut
  const auto elements = fabric::state_bytes(optimizer.optimizer()) / 8;
  CHECK(elements <= 16 * (6 + 16 + 3 + 2) / fabric.world_size() + 3 * 16 + 3 * 32);
  for (int step = 1; step < 4; ++step) {
    train(plain, reference, step);
    optimizer.zero_grad();
    fabric.backward(model->forward(support::own(support::rows({6}, step))).square().mean());
    optimizer.step();
  }
  CHECK(support::distance(net->parameters(), reference->parameters()) < kExact);

  auto other = support::double_net<MLP>();
  auto sharded = fabric.setup(other);
  CHECK_THROWS_WITH_AS(fabric.setup_optimizers(Undeclared(other->parameters())),
                       doctest::Contains("ElementwiseOptimizer"), fabric::MisconfigurationError);
}

TEST_CASE("fused optimizers under ddp, set up or not") {
  for (const bool set_up : {true, false}) {
    fabric::Fabric fabric({.strategy = "ddp"});
    fabric.launch();
    auto reference = support::double_net<MLP>(), net = support::double_net<MLP>();
    torch::optim::AdamW plain(reference->parameters(), torch::optim::AdamWOptions(0.01));
    auto model = fabric.setup(net);
    fabric::FusedAdamW fused(net->parameters(), {.lr = 0.01});
    fabric::FabricOptimizer optimizer;
    if (set_up) {
      optimizer = fabric.setup_optimizers(fused);
    }
    for (int step = 0; step < 5; ++step) {
      set_up ? step_both(plain, reference, optimizer, fabric, model, step)
             : step_both(plain, reference, fused, fabric, model, step);
    }
    CHECK(support::distance(net->parameters(), reference->parameters()) < kExact);
  }
}
