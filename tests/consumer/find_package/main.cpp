// One training step through an installed Fabric.
#include <torch/torch.h>

#include <fabric/fabric.h>
#include <fabric/version.h>

#include <iostream>

int main(int argc, char** argv) {
  fabric::Fabric fabric;
  fabric.launch(argc, argv);
  auto model = fabric.setup(torch::nn::Linear(2, 1));
  auto optimizer = fabric.setup_optimizers(torch::optim::SGD(model->parameters(), 0.1));
  fabric.backward(model->forward(torch::ones({1, 2})).sum());
  optimizer.step();
  std::cout << "consumer of Fabric " << FABRIC_VERSION << " trained\n";
}
