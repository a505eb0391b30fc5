// One training step in one CPU process; the twin of peers/startup.py.
// Prints `first_step_at UNIX_SECONDS`.
#include <chrono>
#include <cstdio>

#include <fabric/fabric.h>
#include <tools/benchmarks/mlp.h>

int main(int argc, char** argv) {
  fabric::Fabric fabric({.accelerator = "cpu", .devices = 1});
  fabric.launch(argc, argv);
  auto model = fabric.setup(Mlp());
  auto optimizer = fabric.setup_optimizers(torch::optim::SGD(model->parameters(), 0.1));
  const auto x = torch::randn({32, 64});
  const auto y = torch::randint(10, {32});
  optimizer.zero_grad();
  fabric.backward(torch::nn::functional::cross_entropy(model->forward(x), y));
  optimizer.step();
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  std::printf("first_step_at %.6f\n", now.count());
}
