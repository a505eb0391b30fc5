// The C++ half of state_test.py: loads a training that Python saved, saves it again as it is, goes
// on for some steps, and saves that.
//
//   fabric_state_program OPTIMIZER IN SAME AFTER STEP
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <string>

#include <torch/torch.h>

#include <fabric/fabric.h>

#include <tests/support/training.h>

namespace {

using Optimizer = std::unique_ptr<torch::optim::Optimizer>;
using Parameters = std::vector<torch::Tensor>;

// Their options come with the file; what does not (momentum or not) has to fit.
Optimizer make_optimizer(const std::string& name, const Parameters& parameters) {
  using namespace torch::optim;
  const std::map<std::string, std::function<Optimizer()>> known = {
      {"Adam", [&] { return std::make_unique<Adam>(parameters, AdamOptions()); }},
      {"AdamW", [&] { return std::make_unique<AdamW>(parameters, AdamWOptions()); }},
      {"SGD", [&] { return std::make_unique<SGD>(parameters, SGDOptions(1)); }},
      {"RMSprop", [&] { return std::make_unique<RMSprop>(parameters, RMSpropOptions()); }},
      {"Adagrad", [&] { return std::make_unique<Adagrad>(parameters, AdagradOptions()); }},
      {"FusedAdam", [&] { return std::make_unique<fabric::FusedAdam>(parameters); }},
      {"FusedAdamW", [&] { return std::make_unique<fabric::FusedAdamW>(parameters); }},
      {"FusedSGD", [&] { return std::make_unique<fabric::FusedSGD>(parameters); }},
      {"FusedAdagrad", [&] { return std::make_unique<fabric::FusedAdagrad>(parameters); }}};
  return known.at(name)();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    std::cerr << "usage: fabric_state_program OPTIMIZER IN SAME AFTER STEPS" << std::endl;
    return 2;
  }
  fabric::Fabric fabric;
  fabric.launch();
  support::MLP net;
  net->to(torch::kDouble);
  auto model = fabric.setup(net);
  auto optimizer = fabric.setup_optimizers(make_optimizer(argv[1], net->parameters()));
  int64_t epoch = 0;
  const fabric::State state{{"model", model}, {"optimizer", optimizer}, {"epoch", epoch}};
  fabric::load(argv[2], state);
  fabric::save(argv[3], state);
  for (const int64_t last = epoch + std::stoll(argv[5]); epoch < last; ++epoch) {
    const auto x = torch::arange(epoch * 48, (epoch + 1) * 48, torch::kDouble).sin().view({8, 6});
    optimizer.zero_grad();
    fabric.backward(model->forward(x).square().mean());
    optimizer.step();
  }
  fabric::save(argv[4], state);
}
