// Methods other than forward, called through the strategy: marked, attributed or registered. A
// variational autoencoder learns points on a circle.
//
//     ./inference_entry            one process
//     mpirun -np 2 ./inference_entry
#include <torch/torch.h>

#include <fabric/fabric.h>

using torch::Tensor;

struct Sampling {
  int64_t n = 4;
  double temperature = 1.0;
};

struct AutoencoderImpl : torch::nn::Module {
  AutoencoderImpl()
      : encoder(register_module("encoder", layers(2, 4))),
        decoder(register_module("decoder", layers(2, 2))) {}

  static torch::nn::Sequential layers(int64_t inputs, int64_t outputs) {
    return torch::nn::Sequential(torch::nn::Linear(inputs, 32), torch::nn::Tanh(),
                                 torch::nn::Linear(32, outputs));
  }

  Tensor forward(Tensor points) { return decoder->forward(encode(points)); }

  // 1. Marked in the class. Training never calls `forward`; its gradients are synchronised and its
  //    precision is the Fabric's all the same.
  FABRIC_INFERENCE_ENTRY(training_step)
  Tensor training_step(Tensor points) {
    const Tensor encoded = encoder->forward(points);
    const Tensor mean = encoded.narrow(1, 0, 2), log_variance = encoded.narrow(1, 2, 2);
    const Tensor code = mean + torch::randn_like(mean) * (0.5 * log_variance).exp();
    const Tensor divergence = (mean.square() + log_variance.exp() - 1 - log_variance).mean();
    return torch::mse_loss(decoder->forward(code), points) + 1e-2 * divergence;
  }

  //    Options are keyword arguments; the braced argument of the method stays one.
  FABRIC_INFERENCE_ENTRY(generate, .grad = "inference_mode", .mode = "eval")
  Tensor generate(Sampling sampling) {
    return decoder->forward(sampling.temperature * torch::randn({sampling.n, 2}));
  }

  // 2. With the attribute, for headers without macros (CMake: fabric_inference_entries(target)).
  [[fabric::inference_entry(.grad = "off", .mode = "eval")]] Tensor error(Tensor points) {
    return (forward(points) - points).norm(2, 1).mean();
  }

  // 3. Neither: the program below registers it.
  Tensor encode(Tensor points) { return encoder->forward(points).narrow(1, 0, 2); }

  torch::nn::Sequential encoder, decoder;
};
TORCH_MODULE(Autoencoder);

Tensor circle(int64_t n) {
  const Tensor angle = torch::rand({n}) * 2 * M_PI;
  return torch::stack({angle.cos(), angle.sin()}, 1);
}

int main(int argc, char** argv) {
  fabric::Fabric fabric;
  fabric.launch(argc, argv);
  fabric.seed_everything(1);  // the same weights on every rank
  Autoencoder net;
  auto model = fabric.setup(net);
  auto optimizer = fabric.setup_optimizers(torch::optim::Adam(model->parameters(), 1e-2));
  fabric.seed_everything(1, {.per_rank = true});  // other points on every rank

  for (int step = 0; step < 600; ++step) {
    optimizer.zero_grad();
    fabric.backward(model->training_step(circle(64)));
    optimizer.step();
  }

  // 3. Registered at run time: a method, or any function over the module.
  auto encode = model.register_forward_method(&AutoencoderImpl::encode, {.grad = "off"});
  auto count = model.register_forward_method(
      "count", [](AutoencoderImpl& module) { return module.parameters().size(); });

  // Without an entry: a block of code as one routed call, over one model or several.
  const Tensor penalty =
      fabric.routed([&] { return net->decoder->parameters()[0].square().sum(); }, model);

  const Tensor codes = encode(circle(256));
  const Tensor radius = model->generate({.n = 256}).norm(2, 1);
  fabric.print("reconstruction error ", fabric.mean(model->error(circle(256))).item<float>());
  fabric.print(count(), " parameters");
  fabric.print("mean radius of samples ", fabric.mean(radius.mean()).item<float>(),
               ", spread of codes ", fabric.mean(codes.std()).item<float>(), ", penalty ",
               penalty.item<float>());
  for (const fabric::Entry& entry : model.entries()) {
    fabric.print(fabric::to_text(entry.origin), "  ", entry.name);
  }
}
