// Whole training runs leave nothing behind in the process. Runs at 1, 2, 3 and 4 ranks.
#include <torch/torch.h>

#include <fabric/fabric.h>

#include <tests/support/leaks.h>
#include <tests/support/training.h>

namespace {

constexpr const char* kStrategies[] = {"ddp", "fsdp", "fsdp(sharding=none, param_dtype=bfloat16)"};

void train_once(const char* strategy, const char* precision) {
  fabric::Fabric fabric({.strategy = std::string(strategy), .precision = std::string(precision)});
  fabric.launch();
  auto model = fabric.setup(support::MLP());
  auto optimizer = fabric.setup_optimizers(torch::optim::SGD(model->parameters(), 0.1));
  auto dataset = torch::data::datasets::TensorDataset(torch::randn({32, 6}))
                     .map(torch::data::transforms::Stack<torch::data::TensorExample>());
  auto loader = fabric.make_data_loader(dataset, {.batch_size = 4, .workers = 2});
  for (auto [batch, micro] : fabric.accumulate(*loader, 2)) {
    fabric.backward(micro.scale(model->forward(batch.data).pow(2).mean()));
    if (micro.last()) {
      optimizer.step();
      optimizer.zero_grad();
    }
  }
  fabric.sum(1);
}

// Starts what a process starts once: MPI, autograd, the pools of communicators.
struct WarmUp {
  WarmUp() {
    static const bool done = [] {
      for (const char* strategy : kStrategies) {
        train_once(strategy, "32-true");
        train_once(strategy, "bf16-mixed");
      }
      return true;
    }();
    (void)done;
  }
};

struct WarmLeaksNothing : WarmUp, support::LeaksNothing {};

}  // namespace

TEST_SUITE("mpi.leaks") {
  TEST_CASE_FIXTURE(WarmLeaksNothing, "training runs leave nothing behind") {
    for (int run = 0; run < 3; ++run) {
      for (const char* strategy : kStrategies) {
        train_once(strategy, run % 2 ? "bf16-mixed" : "32-true");
      }
    }
  }

  TEST_CASE_FIXTURE(WarmLeaksNothing, "a loop that throws leaves nothing behind") {
    CHECK_THROWS_WITH(
        [] {
          fabric::Fabric fabric({.precision = "bf16-mixed"});
          fabric.launch();
          auto model = fabric.setup(support::MLP());
          fabric.backward(model->forward(torch::ones({2, 6})).sum());
          model->forward(torch::ones({2, 7}));
        }(),
        doctest::Contains("mat1 and mat2 shapes"));
  }
}
