// A Fabric loop on one GPU: the same bits as the raw loop there, batches on the device. Skipped,
// and said so, where no CUDA device can be used.
#include <doctest/doctest.h>

#include <torch/torch.h>

#include <fabric/fabric.h>

#include <tests/support/training.h>

namespace {

using torch::Tensor;

bool no_gpu() {
  return !torch::cuda::is_available();
}

// The tests' environment asks for the CPU; these tests are about the GPU.
struct OnGpu {
  OnGpu() { setenv("FABRIC_ACCELERATOR", "cuda", 1); }
  ~OnGpu() { setenv("FABRIC_ACCELERATOR", "cpu", 1); }
};

}  // namespace

TEST_SUITE("fabric.cuda") {
  TEST_CASE("steps on one GPU are bit-equal to the raw loop" * doctest::skip(no_gpu())) {
    const OnGpu environment;
    const Tensor x = torch::randn({16, 6}, torch::kCUDA), y = torch::randn({16, 3}, torch::kCUDA);
    auto raw = support::with_seed(1, [] { return support::MLP(); });
    raw->to(torch::kCUDA);
    torch::optim::SGD raw_optimizer(raw->parameters(), 0.1);
    fabric::Fabric fabric({.devices = 1});
    fabric.launch();
    auto net = support::with_seed(1, [] { return support::MLP(); });
    auto model = fabric.setup(net);
    auto optimizer = fabric.setup_optimizers(torch::optim::SGD(model->parameters(), 0.1));
    CHECK(net->first->weight.is_cuda());
    for (int step = 0; step < 20; ++step) {
      raw_optimizer.zero_grad();
      torch::mse_loss(raw->forward(x), y).backward();
      raw_optimizer.step();
      optimizer.zero_grad();
      fabric.backward(torch::mse_loss(model->forward(x), y));
      optimizer.step();
    }
    CHECK(support::distance(net->parameters(), raw->parameters()) == 0);
  }

  TEST_CASE("fsdp on one GPU follows the raw loop, with its shards there or on the host" *
            doctest::skip(no_gpu())) {
    const OnGpu environment;
    for (const fabric::FSDPOptions& options :
         {fabric::FSDPOptions{.units = {"Linear"}},
          fabric::FSDPOptions{.sharding = "grad_op", .units = {"Linear"}},
          fabric::FSDPOptions{.units = {"Linear"}, .cpu_offload = true}}) {
      const Tensor x = torch::randn({16, 6}, torch::kCUDA), y = torch::randn({16, 3}, torch::kCUDA);
      auto raw = support::with_seed(1, [] { return support::MLP(); });
      raw->to(torch::kCUDA);
      torch::optim::AdamW raw_optimizer(raw->parameters(), 0.01);
      fabric::Fabric fabric({.strategy = options, .devices = 1});
      fabric.launch();
      auto net = support::with_seed(1, [] { return support::MLP(); });
      auto model = fabric.setup(net);
      auto optimizer = fabric.setup_optimizers(torch::optim::AdamW(model->parameters(), 0.01));
      CHECK(optimizer.param_groups()[0].params()[0].is_cuda() == !options.cpu_offload);
      for (int step = 0; step < 10; ++step) {
        raw_optimizer.zero_grad();
        torch::mse_loss(raw->forward(x), y).backward();
        raw_optimizer.step();
        optimizer.zero_grad();
        fabric.backward(torch::mse_loss(model->forward(x), y));
        fabric.clip_gradients(model, optimizer, {.max_norm = 1e6});
        optimizer.step();
      }
      CHECK(support::distance(net->parameters(), raw->parameters()) < 1e-5);
    }
  }

  TEST_CASE("loaders bring batches to the GPU, values stay where they are" *
            doctest::skip(no_gpu())) {
    const OnGpu environment;
    fabric::Fabric fabric({.devices = 1, .precision = "bf16-mixed"});
    auto model = fabric.setup(support::MLP());
    auto loader = fabric.make_data_loader(
        torch::data::datasets::TensorDataset(torch::randn({10, 6}))
            .map(torch::data::transforms::Stack<torch::data::TensorExample>()),
        {.batch_size = 4, .workers = 2});
    for (auto& batch : *loader) {
      CHECK(batch.data.is_cuda());
      const Tensor output = model->forward(batch.data);
      CHECK((output.scalar_type() == torch::kFloat));
      CHECK(fabric.all_gather(output).is_cuda());
      fabric.backward(output.sum());
    }
    CHECK(fabric.mean(torch::ones({2}, torch::kCUDA)).is_cuda());
  }
}
