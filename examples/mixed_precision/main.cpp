// The same loop in every precision: what weights are kept in, where the loss ends, and what loss
// scaling did.
//
//     ./mixed_precision
//     mpirun -np 2 ./mixed_precision
//     FABRIC_STRATEGY=fsdp mpirun -np 2 ./mixed_precision
#include <torch/torch.h>

#include <fabric/fabric.h>

using torch::Tensor;
namespace nn = torch::nn;

nn::Sequential make_net() {
  return nn::Sequential(nn::Linear(16, 128), nn::Tanh(), nn::Linear(128, 1));
}

void train(const std::string& precision) {
  fabric::Fabric fabric({.precision = precision});
  fabric.launch();
  fabric.seed_everything(1);
  auto net = make_net();
  auto model = fabric.setup(net);
  auto optimizer =
      fabric.setup_optimizers(fabric::FusedSGD(model->parameters(), {.lr = 0.02, .momentum = 0.9}));
  const auto weights = c10::toString(net->parameters().front().scalar_type());
  fabric.seed_everything(2, {.per_rank = true});
  double loss = 0;
  for (int step = 1; step <= 500; ++step) {
    const Tensor x = torch::randn({64, 16});
    const Tensor y = x.sin().sum(1, true);
    optimizer.zero_grad();
    const Tensor error = torch::mse_loss(model->forward(x), y);  // float32 outside the call
    fabric.backward(error);                                      // scaled under 16-mixed
    fabric.clip_gradients(model, optimizer, {.max_norm = 5.0});  // unscales them first
    optimizer.step();                                            // left out where they overflowed
    loss += step > 400 ? error.item<double>() / 100 : 0;
  }
  fabric.printf("%-10s  weights %-8s  loss %.3f", precision.c_str(), weights, fabric.mean(loss));
  if (precision == "16-mixed") {
    fabric.printf("  scale %g", fabric.grad_scaler().scale().item<double>());
  }
  fabric.printf("\n");
}

int main(int argc, char** argv) {
  fabric::Fabric().launch(argc, argv);
  for (const char* precision :
       {"32-true", "64-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true"}) {
    train(precision);
  }
}
