// Time of one training step of a stack of square Linear layers; the twin of peers/ddp.py.
//
//   mpirun -np 2 bench_ddp ddp LAYERS WIDTH BATCH WARMUP STEPS
//   bench_ddp single LAYERS WIDTH BATCH WARMUP STEPS [UNIX_SECONDS: when to begin]
//
// Rank 0 prints `step_ms MEDIAN`.
#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include <fabric/fabric.h>
#include <torch/torch.h>

int main(int argc, char** argv) {
  if (argc < 7) {
    std::fputs("usage: bench_ddp ddp|single LAYERS WIDTH BATCH WARMUP STEPS [BEGIN]\n", stderr);
    return 2;
  }
  const std::string strategy = std::string(argv[1]) == "ddp" ? "ddp" : "single_device";
  const std::int64_t layers = std::stol(argv[2]);
  const std::int64_t width = std::stol(argv[3]);
  const std::int64_t batch = std::stol(argv[4]);
  const int warmup = std::stoi(argv[5]);
  const int steps = std::stoi(argv[6]);

  torch::set_num_threads(1);
  fabric::Fabric fabric({.accelerator = "cpu", .strategy = strategy});
  fabric.launch(argc, argv);
  fabric::seed_everything(0);
  torch::nn::Sequential net;
  for (std::int64_t i = 0; i < layers; ++i) {
    net->push_back(torch::nn::Linear(width, width));
  }
  auto model = fabric.setup(net);
  auto optimizer = fabric.setup_optimizers(torch::optim::SGD(model->parameters(), 0.01));
  const auto x = torch::randn({batch, width});
  const auto y = torch::randn({batch, width});

  if (argc > 7) {
    std::this_thread::sleep_until(
        std::chrono::system_clock::time_point(std::chrono::seconds(std::stol(argv[7]))));
  }
  fabric.barrier();
  std::vector<double> times;
  for (int step = 0; step < warmup + steps; ++step) {
    const auto begin = std::chrono::steady_clock::now();
    optimizer.zero_grad();
    auto loss = torch::nn::functional::mse_loss(model->forward(x), y);
    fabric.backward(loss);
    optimizer.step();
    const std::chrono::duration<double, std::milli> taken =
        std::chrono::steady_clock::now() - begin;
    if (step >= warmup) {
      times.push_back(taken.count());
    }
  }
  std::sort(times.begin(), times.end());
  const std::size_t half = times.size() / 2;
  fabric.print("step_ms ",
               times.size() % 2 == 1 ? times[half] : (times[half - 1] + times[half]) / 2);
}
