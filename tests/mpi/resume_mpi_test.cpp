// A run that goes on from a checkpoint is the run that was never stopped: the same losses and
// weights to the last bit, in the middle of an epoch, with shuffled loaders, random transforms and
// dropout.
#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <vector>

#include <torch/torch.h>

#include <fabric/checkpoint/checkpoints.h>
#include <fabric/fabric.h>

#include <tests/support/sharding.h>
#include <tests/support/shared_folder.h>
#include <tests/support/state_trees.h>

namespace {

using fabric::State;
using torch::Tensor;

struct NetImpl : torch::nn::Module {
  NetImpl()
      : first(register_module("first", torch::nn::Linear(6, 33))),
        norm(register_module("norm", torch::nn::BatchNorm1d(33))),
        dropout(register_module("dropout", torch::nn::Dropout(0.3))),
        second(register_module("second", torch::nn::Linear(33, 17))),
        third(register_module("third", torch::nn::Linear(17, 3))) {}
  // Gradients are ready in another order than that of registration.
  Tensor forward(Tensor x) {
    x = dropout(torch::relu(norm(first(x))));
    return third(torch::tanh(second(x)));
  }
  torch::nn::Linear first;
  torch::nn::BatchNorm1d norm;
  torch::nn::Dropout dropout;
  torch::nn::Linear second, third;
};
TORCH_MODULE(Net);

// Examples with noise that is drawn for each of them.
class Noisy : public torch::data::datasets::Dataset<Noisy, torch::data::Example<>> {
 public:
  torch::data::Example<> get(std::size_t index) override {
    const Tensor x = torch::full({6}, 0.01 * static_cast<double>(index)) +
                     torch::randn({6}, fabric::sample_generator(index));
    return {x, torch::full({3}, 0.02 * static_cast<double>(index))};
  }
  std::optional<std::size_t> size() const override { return 48; }
};

struct Run {
  Run(fabric::StrategyChoice strategy, const std::string& precision, int64_t seed,
      std::size_t batch_size)
      : fabric({.strategy = strategy, .precision = precision}) {
    fabric.launch();
    fabric.seed_everything(7);
    net = support::with_seed(seed, [] { return Net(); });
    model = fabric.setup(net);
    optimizer = fabric.setup_optimizers(fabric::FusedAdamW(net->parameters(), {.lr = 0.01}));
    schedule = fabric::warmup_cosine(optimizer, {.warmup_steps = 3, .steps = 40});
    ema = fabric::EMA(model, {.decay = 0.9});
    loader = fabric.make_data_loader(Noisy().map(torch::data::transforms::Stack<>()),
                                     {.batch_size = batch_size, .workers = 2});
    torch::manual_seed(100 + fabric.global_rank());  // dropout differs between ranks
  }
  State state() {
    State state{{"model", model}, {"optimizer", optimizer}, {"schedule", schedule},
                {"ema", ema},     {"loader", loader},       {"random", fabric.random_state()}};
    if (fabric.precision() == "16-mixed") {
      state.add("scaler", fabric.grad_scaler());
    }
    return state;
  }
  // Makes so many steps, and does something after one of them; returns their losses.
  std::vector<double> train(int steps, int after = 0, std::function<void()> work = {}) {
    std::vector<double> losses;
    while (true) {
      for (auto& batch : *loader) {
        optimizer.zero_grad();
        const Tensor loss = torch::mse_loss(model->forward(batch.data), batch.target);
        fabric.backward(loss);
        fabric.clip_gradients(model, optimizer, {.max_norm = 1.0});
        optimizer.step();
        schedule.step();
        ema.update();
        losses.push_back(loss.item<double>());
        if (static_cast<int>(losses.size()) == after) {
          work();
        }
        if (static_cast<int>(losses.size()) == steps) {
          return losses;
        }
      }
    }
  }
  std::vector<Tensor> weights() {
    auto whole = fabric.full_parameters(model);
    std::vector<Tensor> copies;
    for (const Tensor& parameter : net->parameters()) {
      copies.push_back(parameter.detach().clone());
    }
    for (const Tensor& buffer : net->buffers()) {
      copies.push_back(buffer.detach().clone());
    }
    return copies;
  }

  fabric::Fabric fabric;
  Net net{nullptr};
  fabric::FabricModule<NetImpl> model;
  fabric::FabricOptimizer optimizer;
  fabric::Schedule schedule;
  fabric::EMA ema;
  fabric::DataLoader<torch::data::Example<>> loader;
};

bool equal(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(),
                    [](const Tensor& left, const Tensor& right) { return left.equal(right); });
}

std::vector<fabric::StrategyChoice> strategies() {
  const int world = fabric::world().size;
  std::vector<fabric::StrategyChoice> list = {
      fabric::DDPOptions{.bucket_mb = 0.002}, support::kLinearUnits,
      fabric::FSDPOptions{.replicas = world % 2 == 0 ? 2 : 1, .units = {"Linear"}}};
  if (world == 1) {
    list.push_back("single_device");
  }
  return list;
}

// Under 12 examples of all ranks each, whatever their number.
std::size_t batch_size() {
  return 12 / static_cast<std::size_t>(fabric::world().size);
}

}  // namespace

TEST_SUITE("mpi.resume") {
  TEST_CASE("a resumed run is the run that was never stopped") {
    const SharedFolder folder;
    for (const char* precision : {"32-true", "bf16-mixed", "16-mixed"}) {
      for (std::size_t i = 0; i < strategies().size(); ++i) {
        for (const bool sharded : {false, true}) {
          CAPTURE(precision);
          CAPTURE(i);
          CAPTURE(sharded);
          const auto path = folder / (sharded ? "folder" : "file.pt");
          fabric::SaveOptions options;
          if (sharded) {
            options.format = "sharded";
          }
          Run first(strategies()[i], precision, 1, batch_size());
          // In the second epoch of 4 batches.
          const std::vector<double> all =
              first.train(11, 6, [&] { first.fabric.save(path, first.state(), options); });
          const std::vector<double> losses(all.begin() + 6, all.end());
          const std::vector<Tensor> weights = first.weights();

          Run second(strategies()[i], precision, 2, batch_size());
          CHECK(second.fabric.load(path, second.state()).dict().empty());
          const std::vector<double> again = second.train(5);
          CHECK(again == losses);
          CHECK(equal(second.weights(), weights));
        }
      }
    }
  }

  TEST_CASE("another world goes on in the same order of examples") {
    // Loss and gradients are means over the same examples, added in another order.
    const SharedFolder folder;
    const int world = fabric::world().size;
    fabric::Fabric fabric;
    fabric.launch();
    const auto loader_of = [&](std::size_t batch) {
      return fabric.make_data_loader(Noisy().map(torch::data::transforms::Stack<>()),
                                     {.batch_size = batch, .seed = 5});
    };
    auto whole = loader_of(batch_size());
    std::vector<Tensor> seen;
    int batches = 0;
    for (auto& batch : *whole) {
      if (++batches > 2) {
        seen.push_back(fabric.all_gather_cat(batch.data));
      } else if (batches == 2) {
        fabric.save(folder / "a.pt", {{"loader", whole}});
      }
    }
    // With half the batch the same examples come in twice as many batches.
    auto halves =
        loader_of(batch_size() / 2 > 0 && 12 % (2 * world) == 0 ? batch_size() / 2 : batch_size());
    fabric.load(folder / "a.pt", {{"loader", halves}});
    std::vector<Tensor> again;
    for (auto& batch : *halves) {
      again.push_back(fabric.all_gather_cat(batch.data));
    }
    const auto sorted = [](const std::vector<Tensor>& list) {
      return std::get<0>(torch::cat(list).select(1, 0).sort());
    };
    CHECK(sorted(again).equal(sorted(seen)));
  }

  TEST_CASE("a save inside an accumulation is refused") {
    const SharedFolder folder;
    for (std::size_t i = 0; i < strategies().size(); ++i) {
      CAPTURE(i);
      Run run(strategies()[i], "32-true", 1, batch_size());
      int refused = 0;
      int saved = 0;
      for (auto [batch, micro] : run.fabric.accumulate(*run.loader, 2)) {
        run.fabric.backward(
            micro.scale(torch::mse_loss(run.model->forward(batch.data), batch.target)));
        if (micro.last()) {
          run.optimizer.step();
          run.optimizer.zero_grad();
          run.fabric.save(folder / "a.pt", run.state());
          ++saved;
        } else {
          CHECK_THROWS_WITH_AS(run.fabric.save(folder / "b.pt", run.state()),
                               doctest::Contains("in the middle of an accumulation"),
                               fabric::CheckpointError);
          ++refused;
        }
      }
      CHECK(saved == 2);
      CHECK(refused == 2);
      if (fabric::world().size > 1) {
        {
          auto guard = run.fabric.no_backward_sync(run.model);
          run.fabric.backward(run.model->forward(torch::ones({2, 6})).sum());
        }
        CHECK_THROWS_WITH_AS(run.fabric.save(folder / "b.pt", run.state()),
                             doctest::Contains("in the middle of an accumulation"),
                             fabric::CheckpointError);
        run.optimizer.zero_grad();
        run.fabric.save(folder / "b.pt", run.state());
      }
    }
  }

  TEST_CASE("checkpoints are kept, found and removed by rule") {
    const SharedFolder folder;
    for (const bool sharded : {false, true}) {
      CAPTURE(sharded);
      fabric::Fabric fabric({.strategy = support::kLinearUnits});
      fabric.launch();
      auto model = fabric.setup(support::MLP());
      const auto place = folder / (sharded ? "folders" : "files");
      fabric::Checkpoints checkpoints(fabric, place,
                                      {.last = 2, .every = 40, .best = 1, .sharded = sharded});
      CHECK(!checkpoints.latest());
      int step = 0;
      const std::vector<double> metrics = {3, 1, 2, 5, 4, 6};
      for (const double metric : metrics) {
        step += 10;
        checkpoints.save(step, {{"model", model}, {"step", step}}, {.metric = metric});
      }
      std::vector<std::int64_t> steps;
      for (const fabric::CheckpointEntry& entry : checkpoints.list()) {
        steps.push_back(entry.step);
      }
      const std::vector<std::int64_t> expected = {20, 40, 50, 60};  // best, every, newest two
      CHECK(steps == expected);
      CHECK(checkpoints.best()->string().find("step-00000020") != std::string::npos);
      step = 0;
      fabric.load(*checkpoints.latest(), {{"model", model}, {"step", step}});
      CHECK(step == 60);
      fabric.barrier();
    }
    fabric::Fabric fabric;
    fabric.launch();
    CHECK_THROWS_AS(fabric::Checkpoints(fabric, folder / "x", {.last = -2}),
                    fabric::MisconfigurationError);
  }
}
