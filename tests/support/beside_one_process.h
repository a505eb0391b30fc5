// A net trained under a strategy beside the same net in a plain loop over everyone's rows.
#pragma once

#include <vector>

#include <torch/torch.h>

#include <fabric/fabric.h>

#include <tests/support/training.h>

namespace support {

struct BesideOneProcess {
  BesideOneProcess(const fabric::StrategyChoice& strategy, c10::Device device)
      : fabric({.strategy = strategy}),
        plain(make(device)),
        net(make(device)),
        plain_optimizer(plain->parameters(), torch::optim::AdamWOptions(0.01)) {
    fabric.launch();
    model = fabric.setup(net);
    optimizer = fabric.setup_optimizers(
        torch::optim::AdamW(net->parameters(), torch::optim::AdamWOptions(0.01)));
  }

  void train(int steps) {
    const int ranks = fabric::world().size;
    const auto options = torch::TensorOptions(torch::kDouble).device(fabric.device());
    for (int step = 0; step < steps; ++step) {
      torch::manual_seed(step);
      const torch::Tensor x = torch::randn({8L * ranks, 6}, torch::kDouble).to(options),
                          y = torch::randn({8L * ranks, 3}, torch::kDouble).to(options);
      const int rank = fabric::world().rank;
      plain_optimizer.zero_grad();
      torch::mse_loss(plain->forward(x), y).backward();
      optimizer.zero_grad();
      fabric.backward(torch::mse_loss(model->forward(part(x, rank, ranks)), part(y, rank, ranks)));
      gradient_error = std::max(gradient_error, distance(gradients(net), gradients(plain)));
      plain_optimizer.step();
      optimizer.step();
    }
    parameter_error = distance(net->parameters(), plain->parameters());
  }

  static MLP make(c10::Device device) {
    return with_seed(1, [device] {
      MLP made;
      made->to(device, torch::kDouble);
      return made;
    });
  }
  static std::vector<torch::Tensor> gradients(const MLP& of) {
    std::vector<torch::Tensor> all;
    for (const torch::Tensor& parameter : of->parameters()) {
      all.push_back(parameter.grad());
    }
    return all;
  }

  fabric::Fabric fabric;
  MLP plain, net;
  torch::optim::AdamW plain_optimizer;
  fabric::FabricModule<MLPImpl> model;
  fabric::FabricOptimizer optimizer;
  double gradient_error = 0;   // the largest of all steps
  double parameter_error = 0;  // after the last
};

/// Each way in which strategies use groups.
inline std::vector<fabric::StrategyChoice> strategies_with_groups() {
  return {"ddp",
          fabric::DDPOptions{.bucket_mb = 0.0005},
          fabric::FSDPOptions{.units = {"Linear"}},
          fabric::FSDPOptions{.sharding = "grad_op", .units = {"Linear"}},
          fabric::FSDPOptions{.sharding = "none", .units = {"Linear"}},
          fabric::FSDPOptions{.units = {"Linear"}, .prefetch = 2, .accumulation = "sharded"}};
}

}  // namespace support
