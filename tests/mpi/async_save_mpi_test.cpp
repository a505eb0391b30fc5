// Saves that run beside the program hold the state as it was when they began, however slow the
// disk.
#include <doctest/doctest.h>

#include <chrono>
#include <thread>

#include <torch/torch.h>

#include <fabric/checkpoint/snapshot.h>
#include <fabric/fabric.h>

#include <tests/support/sharding.h>
#include <tests/support/shared_folder.h>
#include <tests/support/slow_file_system.h>
#include <tests/support/state_trees.h>

namespace {

using fabric::CheckpointError;
using fabric::SaveOptions;
using fabric::State;
using fabric::StateValue;
using fabric::detail::FileSystemScope;
using torch::Tensor;

// Large enough to be read in place, in several pieces.
struct WideImpl : torch::nn::Module {
  WideImpl()
      : first(register_module("first", torch::nn::Linear(6, 300'000))),
        second(register_module("second", torch::nn::Linear(300'000, 3))) {}
  Tensor forward(const Tensor& x) { return second(torch::tanh(first(x))); }
  torch::nn::Linear first, second;
};
TORCH_MODULE(Wide);

struct Run {
  explicit Run(fabric::StrategyChoice strategy)
      : fabric({.strategy = strategy}), net(support::with_seed(1, [] { return Wide(); })) {
    fabric.launch();
    model = fabric.setup(net);
    optimizer = fabric.setup_optimizers(torch::optim::Adam(net->parameters(), 0.01));
    ema = fabric::EMA(model, {.decay = 0.5});
  }
  State state() { return {{"model", model}, {"optimizer", optimizer}, {"ema", ema}}; }
  void step(int number) {
    torch::manual_seed(number);
    optimizer.zero_grad();
    fabric.backward(model->forward(torch::randn({2, 6})).square().mean());
    optimizer.step();
    ema.update();
  }

  fabric::Fabric fabric;
  Wide net;
  fabric::FabricModule<WideImpl> model;
  fabric::FabricOptimizer optimizer;
  fabric::EMA ema;
};

std::vector<fabric::StrategyChoice> strategies() {
  std::vector<fabric::StrategyChoice> list = {"ddp", support::kLinearUnits};
  if (fabric::world().size == 1) {
    list.push_back("single_device");
  }
  return list;
}

SaveOptions beside(const char* format) {
  SaveOptions options{.async = true};
  options.format = std::string(format);
  return options;
}

}  // namespace

TEST_SUITE("mpi.async_save") {
  TEST_CASE("what is saved is the state when the save began") {
    const SharedFolder folder;
    for (std::size_t i = 0; i < strategies().size(); ++i) {
      for (const char* format : {"python", "safetensors", "sharded"}) {
        for (const int delay_us : {0, 3000}) {
          CAPTURE(i);
          CAPTURE(format);
          CAPTURE(delay_us);
          Run run(strategies()[i]);
          run.step(1);
          run.step(2);
          run.fabric.save(folder / "sync", run.state(), {.format = "sharded"});
          {
            // Slow writes: the steps come while most of it has not been read.
            SlowFileSystem slow(std::chrono::microseconds{delay_us});
            const FileSystemScope scope(slow);
            run.fabric.save(folder / format, run.state(), beside(format));
            run.step(3);
            run.step(4);
            run.fabric.wait_for_saves();
          }
          const StateValue expected = fabric::load(folder / "sync");
          CHECK(difference(expected, fabric::load(folder / format)) == "");
          run.fabric.barrier();
        }
      }
    }
  }

  TEST_CASE("a save that is done before the next step copies nothing") {
    const SharedFolder folder;
    Run run("auto");
    run.step(1);
    for (int i = 0; i < 3; ++i) {
      run.fabric.save(folder / "a", run.state(), beside("sharded"));
      run.fabric.wait_for_saves();
      const double before = fabric::detail::Snapshot::waited_ms();
      run.step(2);
      CHECK(fabric::detail::Snapshot::waited_ms() == before);
    }
  }

  TEST_CASE("errors come at the next call, on all ranks, and the old checkpoint stays") {
    const SharedFolder folder;
    for (const char* format : {"python", "sharded"}) {
      CAPTURE(format);
      Run run("auto");
      int number = 1;
      const auto state = [&] { return State{{"model", run.model}, {"number", number}}; };
      run.fabric.save(folder / format, state(), beside(format));
      run.fabric.wait_for_saves();
      run.fabric.barrier();
      {
        SlowFileSystem failing(std::chrono::microseconds{0});
        failing.fail_writes = fabric::world().rank == 0;
        const FileSystemScope scope(failing);
        number = 2;
        run.fabric.save(folder / format, state(), beside(format));
        CHECK_THROWS_WITH_AS(run.fabric.wait_for_saves(), doctest::Contains("cannot be written"),
                             CheckpointError);
      }
      run.fabric.wait_for_saves();  // said once
      CHECK(fabric::load(folder / format)["number"].as<int>() == 1);
      number = 3;
      run.fabric.save(folder / format, state(), beside(format));
      number = 4;  // values are taken when the save begins
      run.fabric.load(folder / format, state());
      CHECK(number == 3);
      run.fabric.barrier();
    }
  }

  TEST_CASE("a step past the handle is found out") {
    const SharedFolder folder;
    if (fabric::world().size > 1) {
      return;
    }
    fabric::Fabric fabric;
    fabric.launch();
    Wide net = support::with_seed(1, [] { return Wide(); });
    torch::optim::Adam adam(net->parameters(), 0.01);
    auto model = fabric.setup(net);
    auto optimizer = fabric.setup_optimizers(adam);
    const auto backward = [&] { fabric.backward(model->forward(torch::ones({2, 6})).sum()); };
    backward();
    optimizer.step();
    SlowFileSystem slow(std::chrono::milliseconds{5});
    const FileSystemScope scope(slow);
    fabric.save(folder / "a.pt", {{"model", model}, {"optimizer", optimizer}}, beside("python"));
    backward();
    adam.step();
    CHECK_THROWS_WITH_AS(fabric.wait_for_saves(), doctest::Contains("goes past it"),
                         CheckpointError);
    CHECK(!std::filesystem::exists(folder / "a.pt"));
    // The user's own optimizer in the state is copied when the save begins.
    fabric.save(folder / "b.pt", {{"model", model}, {"optimizer", adam}}, beside("python"));
    const Tensor weight = net->first->weight.detach().clone();
    backward();
    adam.step();
    fabric.wait_for_saves();
    CHECK(fabric::load(folder / "b.pt")["model"]["first.weight"].tensor().equal(weight));
    // A write in place that no handle knows of.
    fabric.save(folder / "c.pt", {{"model", model}, {"optimizer", optimizer}}, beside("python"));
    {
      const torch::NoGradGuard no_grad;
      net->second->weight.fill_(1);
    }
    CHECK_THROWS_AS(fabric.wait_for_saves(), CheckpointError);
  }

  TEST_CASE("the end of the Fabric waits for a save") {
    const SharedFolder folder;
    {
      Run run(support::kLinearUnits);
      SlowFileSystem slow(std::chrono::microseconds{500});
      const FileSystemScope scope(slow);
      run.fabric.save(folder / "a", run.state(), beside("sharded"));
    }
    fabric::Fabric fabric;
    fabric.launch();
    fabric.barrier();
    CHECK(fabric::load(folder / "a")["model"].dict().size() == 4);
    fabric.barrier();
    CHECK_THROWS_WITH_AS(fabric::save(folder / "b.pt", {{"n", 1}}, {.async = true}),
                         doctest::Contains("belong to a Fabric object"),
                         fabric::MisconfigurationError);
  }
}
