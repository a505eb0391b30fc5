// A run that changes world and strategy at each stop: `reshard_program FOLDER STEPS` goes on from
// the folder's checkpoint, if there is one, for so many steps, compares itself with the same run on
// one process, and saves.
#include <iostream>
#include <string>

#include <torch/torch.h>

#include <fabric/fabric.h>

#include <tests/support/sharding.h>

int main(int argc, char** argv) {
  using torch::Tensor;
  fabric::Fabric fabric;  // the strategy comes from the environment
  fabric.launch(argc, argv);
  const std::string folder = argv[1];
  const int64_t steps = std::stoll(argv[2]);
  auto net = support::double_net<support::MLP>(1);
  auto model = fabric.setup(net);
  auto optimizer = fabric.setup_optimizers(
      torch::optim::AdamW(net->parameters(), torch::optim::AdamWOptions(0.01)));
  fabric::EMA ema(model, {.decay = 0.5});
  int64_t step = 0;
  fabric::State state{{"model", model}, {"optimizer", optimizer}, {"ema", ema}, {"step", step}};
  if (std::filesystem::exists(folder)) {
    fabric.load(folder, state);
  }

  // What one process has done by then, on all rows at once.
  auto reference = support::double_net<support::MLP>(1);
  torch::optim::AdamW reference_optimizer(reference->parameters(),
                                          torch::optim::AdamWOptions(0.01));
  const auto rows_of = [](int64_t at) {
    torch::manual_seed(at);
    return torch::randn({60, 6}, torch::kDouble);
  };
  const auto reference_step = [&](int64_t at) {
    reference_optimizer.zero_grad();
    reference->forward(rows_of(at)).square().mean().backward();
    reference_optimizer.step();
  };
  for (int64_t i = 0; i < step; ++i) {
    reference_step(i);
  }
  const int64_t before = step;
  double error = 0;
  for (; step < before + steps; ++step) {
    optimizer.zero_grad();
    fabric.backward(model->forward(support::own(rows_of(step))).square().mean());
    optimizer.step();
    ema.update();
    reference_step(step);
    auto whole = fabric.full_parameters(model);
    error = std::max(error, support::distance(net->parameters(), reference->parameters()));
  }
  fabric.save(folder, state, {.format = "sharded"});
  fabric.printf("%s on %d: steps %ld to %ld, error %g\n", fabric.strategy().c_str(),
                fabric.world_size(), static_cast<long>(before), static_cast<long>(step), error);
  fabric.print(error < 1e-12 && step == before + steps ? "as on one process" : "OTHERWISE");
}
