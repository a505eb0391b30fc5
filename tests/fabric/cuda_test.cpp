// A Fabric loop on one GPU: the same bits as the raw loop there, batches on the device. Skipped,
// and said so, where no CUDA device can be used.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include <torch/torch.h>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

#include <c10/core/impl/VirtualGuardImpl.h>
#include <fabric/fabric.h>

#include <tests/support/beside_one_process.h>
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

  TEST_CASE("collectives of one rank go through NCCL" * doctest::skip(no_gpu())) {
    const fabric::detail::GroupsOfOne real;
    const auto one = fabric::make_communicator("one", c10::Device(c10::kCUDA, 0));
    REQUIRE_FALSE(one.alone());
    CHECK(one.process_group()->getBackend(torch::kCUDA)->getBackendName() == "nccl");
    CHECK(one.asynchronous(c10::Device(c10::kCUDA, 0)));
    const Tensor values = torch::arange(4.0, torch::kCUDA), expected = values.clone();
    const std::vector<fabric::ReduceOp> operations{fabric::ReduceOp::mean, fabric::ReduceOp::sum,
                                                   fabric::ReduceOp::max};
    for (const fabric::ReduceOp& operation : operations) {
      one.all_reduce(values, operation).wait();
    }
    one.broadcast(values, 0).wait();
    CHECK(torch::equal(values, expected));
    // Into place: the input is a slice of the output, and the other way round.
    const Tensor whole = torch::zeros({4}, torch::kCUDA),
                 other = torch::empty({1, 4}, torch::kCUDA);
    whole.copy_(values);
    one.all_gather(whole, whole.narrow(0, 0, 4)).wait();
    one.all_gather(other, whole).wait();
    one.reduce_scatter(whole.narrow(0, 0, 4), whole, fabric::ReduceOp::mean).wait();
    one.barrier();
    CHECK(torch::equal(whole, expected));
    CHECK(torch::equal(other[0], expected));
    const Tensor host = torch::ones({2});
    one.all_reduce(host, fabric::ReduceOp::sum).wait();
    CHECK(torch::equal(host, torch::ones({2})));
  }

  TEST_CASE("ddp and fsdp through NCCL take the raw loop's steps" * doctest::skip(no_gpu())) {
    const OnGpu environment;
    const fabric::detail::GroupsOfOne real;
    auto strategies = support::strategies_with_groups();
    strategies.push_back(fabric::FSDPOptions{.units = {"Linear"}, .cpu_offload = true});
    for (const fabric::StrategyChoice& strategy : strategies) {
      CAPTURE(strategy.to_text());
      support::BesideOneProcess pair(strategy, torch::kCUDA);
      CHECK(pair.model.managed().synchronises());
      pair.train(8);
      // Under fsdp parameters lie elsewhere, on the host too, where kernels may round differently.
      const double allowed = strategy.name() == "ddp" ? 0 : 1e-12;
      CHECK(pair.gradient_error <= allowed);
      CHECK(pair.parameter_error <= allowed);
    }
  }

  TEST_CASE("ranks of one are asked for overflows and norms through NCCL" *
            doctest::skip(no_gpu())) {
    const OnGpu environment;
    const fabric::detail::GroupsOfOne real;
    const std::vector<fabric::StrategyChoice> strategies{"ddp",
                                                         fabric::FSDPOptions{.units = {"Linear"}}};
    for (const fabric::StrategyChoice& strategy : strategies) {
      CAPTURE(strategy.to_text());
      fabric::Fabric fabric({.strategy = strategy,
                             .devices = 1,
                             .precision = "16-mixed",
                             .grad_scaler = {.init_scale = 128}});
      fabric.launch();
      auto net = support::with_seed(1, [] { return support::MLP(); });
      auto model = fabric.setup(net);
      auto optimizer = fabric.setup_optimizers(fabric::FusedAdamW(net->parameters(), {.lr = 0.01}));
      const Tensor x = torch::randn({16, 6}, torch::kCUDA);
      const auto step = [&](float factor) {
        optimizer.zero_grad();
        fabric.backward(model->forward(x).square().mean() * factor);
        const Tensor norm = fabric.clip_gradients(model, optimizer, {.max_norm = 0.5});
        optimizer.step();
        return norm.item<float>();
      };
      CHECK(step(1) > 0);
      const Tensor before = net->first->weight.detach().clone();
      step(std::numeric_limits<float>::infinity());
      CHECK(torch::equal(net->first->weight, before));
      CHECK(step(1) > 0);
      CHECK_FALSE(torch::equal(net->first->weight, before));
      CHECK(fabric.sum(torch::ones({2}, torch::kCUDA)).sum().item<float>() == 2);
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

  TEST_CASE("a step that makes the host wait throws while that is forbidden" *
            doctest::skip(no_gpu())) {
    const OnGpu environment;
    const Tensor x = torch::randn({16, 6}, torch::kCUDA), y = torch::randn({16, 3}, torch::kCUDA);
    const std::vector<std::string> precisions{"32-true", "bf16-mixed", "16-mixed"};
    for (const std::string& precision : precisions) {
      CAPTURE(precision);
      fabric::Fabric fabric({.devices = 1, .precision = precision});
      auto model = fabric.setup(support::MLP());
      auto optimizer =
          fabric.setup_optimizers(fabric::FusedAdamW(model->parameters(), {.lr = 0.01}));
      auto loader = fabric.make_data_loader(
          torch::data::datasets::TensorDataset(torch::randn({64, 6}))
              .map(torch::data::transforms::Stack<torch::data::TensorExample>()),
          {.batch_size = 16});
      const auto step = [&](const Tensor& input) {
        optimizer.zero_grad();
        const Tensor loss = torch::mse_loss(model->forward(input), y);
        fabric.backward(loss);
        fabric.clip_gradients(model, optimizer, {.max_norm = 1.0});
        optimizer.step();
        return loss;
      };
      step(x);  // what is made once may wait
      {
        const auto guard = fabric.forbid_synchronisation();
        for (auto& batch : *loader) {
          const Tensor loss = step(batch.data);
          CHECK_THROWS_AS(loss.item<float>(), c10::Error);
          const auto inner = fabric.forbid_synchronisation();
          CHECK_THROWS_AS(loss.nonzero(), c10::Error);
        }
        CHECK_THROWS_AS(x.cpu(), c10::Error);
      }
      CHECK(std::isfinite(step(x).item<float>()));
    }
  }

  TEST_CASE("prefetched batches have their values, whatever the step does with the memory" *
            doctest::skip(no_gpu())) {
    const OnGpu environment;
    fabric::Fabric fabric({.devices = 1});
    constexpr std::int64_t kExamples = 64, kWidth = 1 << 16;
    const Tensor values =
        torch::arange(kExamples, torch::kFloat).view({-1, 1}).expand({kExamples, kWidth});
    const Tensor matrix = torch::randn({2048, 2048}, torch::kCUDA);
    for (const std::size_t workers : {0, 2}) {
      for (const std::size_t prefetch : {0, 1, 3}) {
        auto loader = fabric.make_data_loader<torch::data::samplers::SequentialSampler>(
            torch::data::datasets::TensorDataset(values.contiguous())
                .map(torch::data::transforms::Stack<torch::data::TensorExample>()),
            {.batch_size = 4, .workers = workers, .prefetch = prefetch});
        for (int epoch = 0; epoch < 2; ++epoch) {
          std::vector<Tensor> seen;
          for (auto& batch : loader) {
            CHECK(batch.data.is_cuda());
            Tensor busy = matrix;
            for (int i = 0; i < 8; ++i) {
              busy = busy.mm(matrix).clamp(-1, 1);  // the stream is behind the host
            }
            // Used late, then freed: the next copies may get this memory.
            seen.push_back(batch.data.amin(1) + 0 * busy[0][0]);
            seen.push_back(batch.data.amax(1));
            if (epoch == 0 && seen.size() == 10) {
              break;
            }
          }
          for (std::size_t i = 0; i < seen.size(); ++i) {
            const auto first = static_cast<float>(4 * (i / 2));
            CHECK(torch::equal(seen[i].cpu(), torch::arange(first, first + 4, torch::kFloat)));
          }
        }
      }
    }
  }

  TEST_CASE("a prefetched copy runs beside the step" * doctest::skip(no_gpu())) {
    const OnGpu environment;
    const c10::Device device(c10::kCUDA, 0);
    const Tensor source = torch::ones({1 << 20}).pin_memory();
    const Tensor matrix = torch::randn({8192, 8192}, torch::kCUDA);
    fabric::detail::SideStream side(device);
    const c10::impl::VirtualGuardImpl cuda(c10::kCUDA);
    side.arrive(side.copy({source}).second);  // whatever is made once
    matrix.mm(matrix);
    cuda.synchronizeDevice(0);
    auto [copies, done] = side.copy({source});
    for (int i = 0; i < 20; ++i) {
      matrix.mm(matrix);  // about half a second in fp32
    }
    done.synchronize();
    CHECK_FALSE(cuda.queryStream(cuda.getStream(device)));  // the step goes on
    side.arrive(done);
    CHECK(copies[0].sum().item<float>() == 1 << 20);
  }

  TEST_CASE("a captured step is the eager one, with rates that change, from 32-true to bf16-mixed" *
            doctest::skip(no_gpu())) {
    const OnGpu environment;
    const std::vector<std::string> precisions{"32-true", "bf16-mixed"};
    for (const std::string& precision : precisions) {
      CAPTURE(precision);
      fabric::Fabric fabric({.devices = 1, .precision = precision});
      fabric.launch();
      struct Twin {
        explicit Twin(fabric::Fabric& fabric)
            : net(support::with_seed(1, [] { return support::MLP(); })),
              model(fabric.setup(net)),
              optimizer(fabric.setup_optimizers(fabric::FusedAdamW(
                  net->parameters(), {.lr_tensor = torch::full({}, 0.01, fabric.device())}))) {}
        Tensor step(fabric::Fabric& fabric, Tensor x, Tensor y) {
          optimizer.zero_grad();
          const Tensor loss = torch::mse_loss(model->forward(x), y);
          fabric.backward(loss);
          fabric.clip_gradients(model, optimizer, {.max_norm = 1.0});
          optimizer.step();
          return loss;
        }
        support::MLP net;
        fabric::FabricModule<support::MLPImpl> model;
        fabric::FabricOptimizer optimizer;
      } eager(fabric), recorded(fabric);
      int runs = 0;
      const auto step = fabric.capture([&](Tensor x, Tensor y) {
        ++runs;
        return recorded.step(fabric, x, y);
      });
      std::vector<Tensor> losses, expected;
      for (int i = 0; i < 12; ++i) {
        const Tensor x = torch::randn({16, 6}, torch::kCUDA),
                     y = torch::randn({16, 3}, torch::kCUDA);
        for (Twin* twin : {&eager, &recorded}) {
          twin->optimizer.param_groups()[0].options().set_lr(0.01 / (1 + i));
        }
        expected.push_back(eager.step(fabric, x, y).detach());
        losses.push_back(step(x, y));
        CHECK(step.replays() == (i >= 3));
      }
      CHECK(runs == 4);  // three as they are, and the recording
      CHECK(torch::allclose(torch::stack(losses), torch::stack(expected), 1e-4, 1e-5));
      CHECK(support::distance(eager.net->parameters(), recorded.net->parameters()) < 1e-4);
    }
  }

  TEST_CASE("captured steps draw on, take batches of workers, and refuse what waits" *
            doctest::skip(no_gpu())) {
    const OnGpu environment;
    fabric::Fabric fabric({.devices = 1});
    const auto drop = fabric.capture([](Tensor x) { return torch::dropout(x, 0.5, true); });
    auto loader = fabric.make_data_loader<torch::data::samplers::SequentialSampler>(
        torch::data::datasets::TensorDataset(torch::ones({64, 256}))
            .map(torch::data::transforms::Stack<torch::data::TensorExample>()),
        {.batch_size = 8, .workers = 2});
    std::vector<Tensor> masks;
    for (auto& batch : *loader) {
      const Tensor mask = drop(batch.data).ne(0);
      const double kept = mask.to(torch::kFloat).mean().item<double>();
      CHECK(kept > 0.4);
      CHECK(kept < 0.6);
      for (const Tensor& other : masks) {
        CHECK_FALSE(torch::equal(mask, other));
      }
      masks.push_back(mask);
    }
    CHECK(masks.size() == 8);
    CHECK(drop.replays());
    const auto waits = fabric.capture([](Tensor x) { return x * x.sum().item<float>(); });
    const Tensor x = torch::ones({4}, torch::kCUDA);
    waits(x);
    waits(x);
    CHECK_THROWS_WITH_AS(waits(x), doctest::Contains("cannot be recorded"),
                         fabric::MisconfigurationError);
    CHECK((x + 1).sum().item<float>() == 8);  // the device is as before
  }

  TEST_CASE("modules without memory get their values on the GPU" * doctest::skip(no_gpu())) {
    const OnGpu environment;
    struct MixedImpl : torch::nn::Module {
      MixedImpl()
          : lstm(register_module("lstm", torch::nn::LSTM(4, 6))),
            norm(register_module("norm", torch::nn::BatchNorm1d(6))) {
        // A tensor that is on the CPU, taken by operators that run on the GPU later.
        const Tensor order = torch::tensor({2, 0, 1, 5, 4, 3});
        scale = register_parameter("scale", torch::arange(6.0).index_select(0, order) *
                                                torch::tensor({1.0, 2.0, 3.0, 4.0, 5.0, 6.0}));
      }
      Tensor forward(Tensor x) { return norm(std::get<0>(lstm(x))[0] * scale); }
      torch::nn::LSTM lstm;
      torch::nn::BatchNorm1d norm;
      Tensor scale;
    };
    std::vector<Tensor> first;
    for (const std::string strategy : {"single_device", "fsdp"}) {
      CAPTURE(strategy);
      fabric::Fabric fabric({.strategy = strategy, .devices = 1});
      fabric.launch();
      torch::manual_seed(1);
      auto net =
          fabric.init_module([] { return std::make_shared<MixedImpl>(); }, {.empty_init = true});
      auto model = fabric.setup(net);
      std::vector<Tensor> values;
      for (const Tensor& parameter : net->parameters()) {
        CHECK(parameter.is_cuda());
        values.push_back(parameter.detach().clone());
      }
      for (const Tensor& buffer : net->buffers()) {
        CHECK(buffer.is_cuda());
      }
      if (first.empty()) {
        first = values;
      }
      CHECK(support::distance(values, first) == 0);
      CHECK(torch::equal(net->scale.cpu(), torch::tensor({2.0, 0.0, 3.0, 20.0, 20.0, 18.0})));
      fabric.backward(model(torch::randn({1, 8, 4}, torch::kCUDA)).square().sum());
      CHECK(net->scale.grad().is_cuda());
    }
  }

  TEST_CASE("a checkpointed block with dropout, run again by autograd's thread" *
            doctest::skip(no_gpu())) {
    torch::nn::Sequential block(torch::nn::Linear(6, 64), torch::nn::Dropout(0.5),
                                torch::nn::Linear(64, 6));
    block->to(torch::kCUDA);
    const Tensor x = torch::randn({16, 6}, torch::kCUDA).requires_grad_();
    torch::manual_seed(1);
    const Tensor expected = block->forward(x);
    expected.square().sum().backward();
    const Tensor gradient = x.grad().clone(), next = torch::rand({4}, torch::kCUDA);
    x.mutable_grad().reset();
    torch::manual_seed(1);
    const Tensor got = fabric::checkpoint(block, x);
    got.square().sum().backward();
    CHECK(torch::equal(got, expected));
    CHECK(torch::allclose(x.grad(), gradient));
    CHECK(torch::equal(torch::rand({4}, torch::kCUDA), next));
  }
}
