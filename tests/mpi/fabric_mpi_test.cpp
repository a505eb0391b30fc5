// Values over ranks: gathers, reductions, broadcasts, turns. Runs at 1, 2, 3 and 4 ranks.
#include <doctest/doctest.h>

#include <iostream>
#include <map>
#include <sstream>

#include <torch/torch.h>

#include <fabric/fabric.h>

#include <tests/support/captured_log.h>
#include <tests/support/training.h>

namespace {

using torch::Tensor;

struct Totals {
  double loss = 0;
  std::int64_t correct = 0;
  Tensor histogram;
};

struct Setting {
  std::string name;
  std::vector<double> rates;
  Tensor weights;
};

int rank() {
  return fabric::world().rank;
}
int size() {
  return fabric::world().size;
}

}  // namespace

TEST_SUITE("mpi.fabric") {
  TEST_CASE("the world is MPI's, and the strategy follows it") {
    fabric::Fabric fabric;
    fabric.launch();
    CHECK(fabric.world_size() == size());
    CHECK(fabric.global_rank() == rank());
    CHECK(fabric.num_nodes() == 1);
    CHECK(fabric.strategy() == (size() > 1 ? "ddp" : "single_device"));
  }

  TEST_CASE("devices that disagree with the started world are an error with both cures") {
    fabric::Fabric fabric({.devices = size() + 1});
    CHECK_THROWS_AS(fabric.launch(), fabric::MisconfigurationError);
  }

  TEST_CASE("ranks that resolve different plans all say so") {
    if (size() == 1) {
      return;
    }
    setenv("FABRIC_PRECISION", rank() == 0 ? "bf16-mixed" : "32-true", 1);
    fabric::Fabric fabric;
    CHECK_THROWS_WITH_AS(fabric.launch(), doctest::Contains("ranks resolved different plans"),
                         fabric::MisconfigurationError);
    unsetenv("FABRIC_PRECISION");
  }

  TEST_CASE("gathers stack, also in structures") {
    fabric::Fabric fabric;
    fabric.launch();
    const Tensor own = torch::full({2, 3}, rank());
    const Tensor all = fabric.all_gather(own);
    REQUIRE(all.sizes() == std::vector<int64_t>{size(), 2, 3});
    for (int r = 0; r < size(); ++r) {
      CHECK(all[r].eq(r).all().item<bool>());
    }
    const auto nested = fabric.all_gather(std::map<std::string, std::vector<Tensor>>{{"a", {own}}});
    CHECK(torch::equal(nested.at("a")[0], all));
    CHECK(torch::equal(fabric.all_gather(rank()), torch::arange(size())));
  }

  TEST_CASE("unequal shapes are an error on all ranks, and no hang") {
    if (size() == 1) {
      return;
    }
    fabric::Fabric fabric;
    fabric.launch();
    CHECK_THROWS_WITH_AS(fabric.all_gather(torch::ones({2 + rank()})),
                         doctest::Contains("ranks disagree on the shape or dtype"),
                         fabric::CommunicationError);
    CHECK_THROWS_AS(fabric.all_reduce(torch::ones({2}, rank() ? torch::kFloat : torch::kDouble)),
                    fabric::CommunicationError);
    fabric.barrier();
  }

  TEST_CASE("rows of unequal number are concatenated in rank order") {
    fabric::Fabric fabric;
    fabric.launch();
    const Tensor all = fabric.all_gather_cat(torch::full({rank(), 2}, rank()));
    int64_t row = 0;
    for (int r = 0; r < size(); ++r) {
      for (int i = 0; i < r; ++i) {
        CHECK(all[row++][0].item<int64_t>() == r);
      }
    }
    CHECK(all.size(0) == row);
  }

  TEST_CASE("gradients flow through gathers that ask for it") {
    fabric::Fabric fabric;
    fabric.launch();
    Tensor own = torch::full({2}, 1.0 + rank(), torch::requires_grad());
    const Tensor all = fabric.all_gather(own, /*sync_grads=*/true);
    // Each rank weighs the gathered values by its own rank: gradients are summed over ranks.
    (all.sum() * (rank() + 1)).backward();
    CHECK(own.grad()[0].item<double>() == size() * (size() + 1) / 2);
    Tensor rows = torch::full({1 + rank()}, 1.0, torch::requires_grad());
    fabric.all_gather_cat(rows, /*sync_grads=*/true).sum().backward();
    CHECK(rows.grad()[0].item<double>() == size());
    CHECK(!fabric.all_gather(own).requires_grad());
  }

  TEST_CASE("reductions return values of the right type") {
    fabric::Fabric fabric;
    fabric.launch();
    const int total = size() * (size() - 1) / 2;
    CHECK(fabric.sum(rank()) == total);
    CHECK(fabric.mean(rank()) == doctest::Approx(double(total) / size()));
    CHECK(fabric.all_reduce(rank(), "max") == size() - 1);
    CHECK(fabric.sum(rank() == 0) == 1);
    const Tensor own = torch::full({3}, rank());
    CHECK(fabric.sum(own)[0].item<int64_t>() == total);
    CHECK(own[0].item<int64_t>() == rank());
    CHECK((fabric.mean(own).scalar_type() == torch::kDouble));
    const Totals sum = fabric.sum(Totals{0.5, 1, torch::ones({2})});
    CHECK(sum.loss == 0.5 * size());
    CHECK(sum.correct == size());
    CHECK(sum.histogram[0].item<double>() == size());
  }

  TEST_CASE("broadcasts carry tensors of unknown shape and whole structs") {
    fabric::Fabric fabric;
    fabric.launch();
    const int source = size() - 1;
    const Tensor sent = rank() == source ? torch::arange(5).to(torch::kBFloat16) : Tensor();
    CHECK(torch::equal(fabric.broadcast(sent, source), torch::arange(5).to(torch::kBFloat16)));
    Setting setting;
    if (rank() == 0) {
      setting = {"chosen", {1, 2, 3}, torch::ones({2, 2})};
    }
    setting = fabric.broadcast(setting);
    CHECK(setting.name == "chosen");
    CHECK(setting.rates.size() == 3);
    CHECK(setting.weights.sum().item<double>() == 4);
  }

  TEST_CASE("rank zero goes first, and its failure reaches everyone") {
    fabric::Fabric fabric;
    fabric.launch();
    static int turn = 0;
    const int order = fabric.rank_zero_first([&] {
      if (rank() != 0) {
        CHECK(fabric::world().size > 1);
      }
      return ++turn;
    });
    CHECK(order == turn);
    CHECK_THROWS_WITH(fabric.rank_zero_first([] {
      if (rank() == 0) {
        throw std::runtime_error("disk is full");
      }
    }),
                      doctest::Contains("disk is full"));
    fabric.rank_zero_first([] {}, /*local=*/true);
    fabric.barrier();
  }

  TEST_CASE("loaders deal the dataset out") {
    fabric::Fabric fabric;
    fabric.launch();
    const int64_t count = 10;
    auto dataset = torch::data::datasets::TensorDataset(torch::arange(count))
                       .map(torch::data::transforms::Stack<torch::data::TensorExample>());
    auto loader = fabric.make_data_loader<torch::data::samplers::SequentialSampler>(
        dataset, {.batch_size = 2, .tail = fabric::Tail::exact});
    int64_t sum = 0, examples = 0;
    std::size_t batches = 0;
    for (auto& batch : *loader) {
      sum += batch.data.sum().item<int64_t>();
      examples += batch.data.size(0);
      ++batches;
    }
    CHECK(batches == loader.size());
    CHECK(fabric.sum(sum) == count * (count - 1) / 2);
    CHECK(fabric.sum(examples) == count);
    CHECK(fabric.all_reduce(static_cast<std::int64_t>(batches), "max") ==
          fabric.all_reduce(static_cast<std::int64_t>(batches), "min"));
  }

  TEST_CASE("evaluating on repeated examples is warned of once") {
    fabric::Fabric fabric;
    fabric.launch();
    auto model = fabric.setup(torch::nn::Linear(1, 1));
    auto loader = fabric.make_data_loader<torch::data::samplers::SequentialSampler>(
        torch::data::datasets::TensorDataset(torch::ones({13, 1}))
            .map(torch::data::transforms::Stack<torch::data::TensorExample>()),
        2);
    CHECK((loader.padding() > 0) == (size() > 1));
    const support::CapturedLog said;
    for (const bool training : {true, false, false}) {
      model->train(training);
      for (auto& batch : *loader) {
        model->forward(batch.data);
      }
      CHECK((said.text().empty() || !training));
    }
    const std::string text = said.text();
    const bool expected = size() > 1 && rank() == 0;
    CHECK((text.find("Linear is evaluated on a loader that repeats examples") !=
           std::string::npos) == expected);
    CHECK(text.find("warning") == text.rfind("warning"));
  }

  TEST_CASE("captured steps of several ranks run as they are, gradients synchronised") {
    for (const std::string strategy : {"ddp", "fsdp"}) {
      CAPTURE(strategy);
      fabric::Fabric fabric({.strategy = strategy});
      fabric.launch();
      auto reference = support::with_seed(1, [] { return support::MLP(); });
      auto net = support::with_seed(1, [] { return support::MLP(); });
      torch::optim::SGD reference_optimizer(reference->parameters(), 0.1);
      auto model = fabric.setup(net);
      auto optimizer = fabric.setup_optimizers(
          fabric::FusedSGD(net->parameters(), {.lr_tensor = torch::full({}, 0.1)}));
      const auto step = fabric.capture([&](torch::Tensor x) {
        optimizer.zero_grad();
        const torch::Tensor loss = model->forward(x).square().mean();
        fabric.backward(loss);
        optimizer.step();
        return loss;
      });
      for (int i = 0; i < 5; ++i) {
        torch::manual_seed(i);
        const torch::Tensor x = torch::randn({4L * fabric.world_size(), 6});
        reference_optimizer.zero_grad();
        reference->forward(x).square().mean().backward();
        reference_optimizer.step();
        step(support::part(x, fabric.global_rank(), fabric.world_size()));
        CHECK_FALSE(step.replays());
        CHECK(support::distance(net->parameters(), reference->parameters()) < 1e-6);
      }
    }
  }
}
