// A learning-rate schedule, an average of the weights, and what the steps cost. Batches are small
// and noisy, so the last weights are: the average is better, and so is a run whose rate ends low.
//
//     ./schedules_and_averages
//     mpirun -np 2 ./schedules_and_averages
//     FABRIC_STRATEGY="fsdp(units=Linear)" mpirun -np 2 ./schedules_and_averages
#include <sstream>

#include <torch/torch.h>

#include <fabric/fabric.h>

using torch::Tensor;
namespace nn = torch::nn;

constexpr int64_t kSteps = 1000, kBatch = 16;

nn::Sequential make_net() {
  return nn::Sequential(nn::Linear(8, 64), nn::Tanh(), nn::Linear(64, 64), nn::Tanh(),
                        nn::Linear(64, 1));
}

/// Points and what is to be learnt of them, with noise.
std::pair<Tensor, Tensor> points(int64_t count, double noise) {
  const Tensor x = torch::randn({count, 8});
  return {x, x.sin().sum(1, true) + noise * torch::randn({count, 1})};
}

struct Run {
  explicit Run(fabric::Fabric& fabric) : fabric(fabric) {
    fabric.seed_everything(1);
    test = points(2000, 0.0);
    model = fabric.setup(make_net());
    optimizer = fabric.setup_optimizers(torch::optim::Adam(model->parameters(), 0.01));
    fabric.seed_everything(2, {.per_rank = true});
  }

  void step() {
    const auto [x, y] = points(kBatch, 1.0);
    optimizer.zero_grad();
    fabric.backward(torch::mse_loss(model->forward(x), y));
    optimizer.step();
  }

  /// The loss on points without noise, the same for all runs and ranks.
  double loss() {
    const torch::NoGradGuard no_grad;
    return fabric.mean(torch::mse_loss(model->forward(test.first), test.second).item<double>());
  }

  fabric::Fabric& fabric;
  std::pair<Tensor, Tensor> test;
  fabric::FabricModule<nn::SequentialImpl> model;
  fabric::FabricOptimizer optimizer;
};

int main(int argc, char** argv) {
  fabric::Fabric fabric;
  fabric.launch(argc, argv);

  {  // One rate all the time, and an average beside it.
    Run run(fabric);
    const auto flops = fabric::count_flops([&] { run.step(); });
    auto throughput = fabric.throughput({.flops_per_step = flops});
    fabric::EMA ema(run.model, {.decay = 0.99});
    for (int64_t i = 0; i < kSteps; ++i) {
      run.step();
      ema.update();
      throughput.update({.samples = kBatch});
    }
    const double last = run.loss();
    double averaged = 0;
    {
      auto guard = ema.swapped();
      averaged = run.loss();
    }
    fabric.printf("constant rate   loss %.4f, of the averaged weights %.4f\n", last, averaged);
    const auto report = throughput.compute();
    fabric.printf("                %.0f samples/s on %d processes, %.1f MFLOP a step, MFU %.1f%%\n",
                  report.global.samples_per_second, fabric.world_size(),
                  static_cast<double>(flops.total) / 1e6, 100 * report.mfu.value_or(0));
  }

  {  // Warm-up and cosine; interrupted and resumed half-way.
    Run run(fabric);
    auto schedule = fabric::warmup_cosine(run.optimizer, {.warmup_steps = 50, .steps = kSteps});
    std::stringstream saved;
    for (int64_t i = 0; i < kSteps; ++i) {
      if (i == kSteps / 2) {
        torch::save(schedule, saved);
        schedule = fabric::warmup_cosine(run.optimizer, {.warmup_steps = 50, .steps = kSteps});
        torch::load(schedule, saved);
      }
      run.step();
      schedule.step();
    }
    fabric.printf("warmup_cosine   loss %.4f, last rate %g\n", run.loss(), schedule.last_lr()[0]);
  }
}
