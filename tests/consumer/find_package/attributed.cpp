// An attributed method, called through an installed Fabric.
#include <torch/torch.h>

#include <fabric/fabric.h>

struct NetImpl : torch::nn::Module {
  [[fabric::inference_entry]] int answer() { return 42; }
};
TORCH_MODULE(Net);

int main() {
  fabric::Fabric fabric;
  auto model = fabric.setup(Net());
  return model->answer() == 42 ? 0 : 1;
}
