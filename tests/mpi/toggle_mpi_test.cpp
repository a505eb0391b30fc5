// toggle: turns of several optimizers give what they give on one process, and nothing stays frozen.
#include <doctest/doctest.h>

#include <stdexcept>

#include <torch/torch.h>

#include <tests/support/sharding.h>

namespace {

using support::distance;
using support::double_net;
using support::MLP;
using support::own;
using support::rows;
using torch::Tensor;

std::vector<fabric::StrategyChoice> strategies() {
  std::vector<fabric::StrategyChoice> list = {"ddp", support::kLinearUnits,
                                              fabric::FSDPOptions{.sharding = "grad_op"}};
  if (fabric::world().size == 1) {
    list.push_back("single_device");
  }
  return list;
}

/// A generator of 6 → 3 and a critic of 3 → 1.
MLP make_critic() {
  return support::with_seed(2, [] {
    MLP net(support::MLPImpl(3, 8, 1));
    net->to(torch::kDouble);
    return net;
  });
}

std::vector<bool> flags(const MLP& net) {
  std::vector<bool> flags;
  for (const Tensor& parameter : net->parameters()) {
    flags.push_back(parameter.requires_grad());
  }
  return flags;
}

const std::vector<bool> kAll(6, true), kNone(6, false);

struct Gan {
  explicit Gan(fabric::StrategyChoice strategy) : fabric({.strategy = strategy}) {
    fabric.launch();
    frozen->first->bias.requires_grad_(false);
    generator_model = fabric.setup(generator);
    critic_model = fabric.setup(frozen);
    generator_optimizer =
        fabric.setup_optimizers(torch::optim::Adam(generator->parameters(), 0.02));
    critic_optimizer = fabric.setup_optimizers(torch::optim::Adam(frozen->parameters(), 0.02));
  }
  fabric::Fabric fabric;
  MLP generator = double_net<MLP>(), frozen = make_critic();
  fabric::FabricModule<support::MLPImpl> generator_model, critic_model;
  fabric::FabricOptimizer generator_optimizer, critic_optimizer;
};

// The critic's first bias is frozen by the user.
const std::vector<bool> kFrozen = {true, false, true, true, true, true};

}  // namespace

TEST_SUITE("mpi.toggle") {
  TEST_CASE("a GAN trains as on one process, and its critic's gradients stay out of turn") {
    for (const fabric::StrategyChoice& strategy : strategies()) {
      Gan gan(strategy);
      MLP generator = double_net<MLP>(), critic = make_critic();
      critic->first->bias.requires_grad_(false);
      torch::optim::Adam generator_optimizer(generator->parameters(), 0.02);
      torch::optim::Adam critic_optimizer(critic->parameters(), 0.02);
      const Tensor noise = rows({6}), real = rows({3}, 11);
      for (int step = 0; step < 4; ++step) {
        critic_optimizer.zero_grad();
        (critic->forward(generator->forward(noise).detach()).mean() - critic->forward(real).mean() +
         critic->forward(real).square().mean())
            .backward();
        critic_optimizer.step();
        generator_optimizer.zero_grad();
        (-critic->forward(generator->forward(noise)).mean()).backward();
        generator_optimizer.step();

        {
          auto turn = gan.fabric.toggle(gan.critic_optimizer);
          CHECK(flags(gan.generator) == kNone);
          CHECK(flags(gan.frozen) == kFrozen);
          gan.critic_optimizer.zero_grad();
          gan.fabric.backward(
              gan.critic_model->forward(gan.generator_model->forward(own(noise))).mean() -
              gan.critic_model->forward(own(real)).mean() +
              gan.critic_model->forward(own(real)).square().mean());
          CHECK_FALSE((gan.generator->parameters()[0].grad().defined() && step == 0));
          gan.critic_optimizer.step();
        }
        CHECK(flags(gan.generator) == kAll);
        {
          auto turn = gan.fabric.toggle(gan.generator_optimizer);
          CHECK(flags(gan.generator) == kAll);
          CHECK(flags(gan.frozen) == kNone);
          gan.critic_optimizer.zero_grad();
          gan.generator_optimizer.zero_grad();
          gan.fabric.backward(
              -gan.critic_model->forward(gan.generator_model->forward(own(noise))).mean());
          CHECK_FALSE(gan.frozen->parameters()[0].grad().defined());
          gan.generator_optimizer.step();
        }
        CHECK(flags(gan.frozen) == kFrozen);
      }
      CHECK(distance(gan.generator->parameters(), generator->parameters()) < 1e-9);
      CHECK(distance(gan.frozen->parameters(), critic->parameters()) < 1e-9);
    }
  }

  TEST_CASE("toggles nest, and an exception ends them") {
    for (const fabric::StrategyChoice& strategy : strategies()) {
      Gan gan(strategy);
      try {
        auto outer = gan.fabric.toggle(gan.generator_optimizer);
        CHECK(flags(gan.frozen) == kNone);
        {
          auto inner = gan.fabric.toggle(gan.critic_optimizer);
          CHECK(flags(gan.generator) == kNone);
          CHECK(flags(gan.frozen) == kFrozen);
          {
            auto same = gan.fabric.toggle(gan.critic_optimizer);
            CHECK(flags(gan.frozen) == kFrozen);
          }
          CHECK(flags(gan.frozen) == kFrozen);
        }
        CHECK(flags(gan.generator) == kAll);
        CHECK(flags(gan.frozen) == kNone);
        throw std::runtime_error("a turn failed");
      } catch (const std::runtime_error&) {
      }
      CHECK(flags(gan.generator) == kAll);
      CHECK(flags(gan.frozen) == kFrozen);
    }
  }

  TEST_CASE("an optimizer over part of a model leaves the rest without gradients") {
    for (const fabric::StrategyChoice& strategy : strategies()) {
      fabric::Fabric fabric({.strategy = strategy});
      fabric.launch();
      MLP net = double_net<MLP>();
      auto model = fabric.setup(net);
      auto head = fabric.setup_optimizers(torch::optim::SGD(net->third->parameters(), 0.1));
      auto body = fabric.setup_optimizers(torch::optim::SGD(net->first->parameters(), 0.1));
      {
        auto turn = fabric.toggle(head);
        CHECK(flags(net) == std::vector<bool>{false, false, false, false, true, true});
        fabric.backward(model->forward(own(rows({6}))).square().mean());
        CHECK(net->third->weight.grad().defined());
        CHECK_FALSE(net->first->weight.grad().defined());
      }
      CHECK(flags(net) == kAll);
    }
  }
}
