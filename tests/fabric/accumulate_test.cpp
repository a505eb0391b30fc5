#include <doctest/doctest.h>

#include <accelerators/error.h>
#include <fabric/accumulate.h>
#include <fabric/data_loader.h>
#include <torch/data/datasets/tensor.h>
#include <torch/data/transforms/stack.h>
#include <torch/types.h>

#include <stdexcept>
#include <vector>

namespace {

using Calls = std::vector<bool>;

struct Recorder {
  std::function<void(bool)> hook() {
    return [this](bool enabled) { calls.push_back(enabled); };
  }
  Calls calls;
};

}  // namespace

TEST_SUITE("fabric.accumulate") {
  TEST_CASE("windows, and a shorter one at the end") {
    std::vector<int> batches{10, 11, 12, 13, 14, 15, 16};
    Recorder recorder;
    std::vector<int> seen;
    std::vector<std::size_t> indices;
    std::vector<std::size_t> counts;
    int steps = 0;
    for (auto [batch, micro] : fabric::accumulate(batches, 3, recorder.hook())) {
      seen.push_back(batch);
      indices.push_back(micro.index());
      counts.push_back(micro.count());
      CHECK(micro.first() == (micro.index() == 0));
      CHECK(recorder.calls.back() == micro.last());
      steps += micro.last() ? 1 : 0;
    }
    CHECK(seen == batches);
    CHECK(indices == std::vector<std::size_t>{0, 1, 2, 0, 1, 2, 0});
    CHECK(counts == std::vector<std::size_t>{3, 3, 3, 3, 3, 3, 1});
    CHECK(steps == 3);
    CHECK(recorder.calls == Calls{false, false, true, false, false, true, true});
  }

  TEST_CASE("the batch is the range's own element") {
    std::vector<int> batches{1, 2};
    for (auto [batch, micro] : fabric::accumulate(batches, 2)) {
      batch *= 10;
    }
    CHECK(batches == std::vector<int>{10, 20});
  }

  TEST_CASE("scale divides by the length of its own window") {
    std::vector<int> batches{0, 1, 2, 3, 4};
    double tensors = 0.0;
    double numbers = 0.0;
    for (auto [batch, micro] : fabric::accumulate(batches, 4)) {
      tensors += micro.scale(torch::tensor(1.0)).item<double>();
      numbers += micro.scale(1.0);
    }
    CHECK(tensors == doctest::Approx(2.0));  // two windows, each a mean
    CHECK(numbers == doctest::Approx(2.0));
  }

  TEST_CASE("a window of one returns the loss itself") {
    const auto loss = torch::tensor(3.0);
    CHECK(fabric::Micro(0, 1).scale(loss).is_same(loss));
  }

  TEST_CASE("gradients of a window equal those of one large batch") {
    const auto x = torch::randn({8, 3}, torch::kDouble);
    auto weight = torch::randn({3}, torch::dtype(torch::kDouble).requires_grad(true));
    torch::mv(x, weight).square().mean().backward();
    const auto expected = weight.grad().clone();
    weight.mutable_grad() = torch::Tensor();
    auto pieces = x.chunk(4);
    for (auto [batch, micro] : fabric::accumulate(pieces, 4)) {
      micro.scale(torch::mv(batch, weight).square().mean()).backward();
    }
    CHECK(torch::allclose(weight.grad(), expected));
  }

  TEST_CASE("break restores synchronisation") {
    std::vector<int> batches{0, 1, 2, 3};
    Recorder recorder;
    for (auto [batch, micro] : fabric::accumulate(batches, 4, recorder.hook())) {
      if (batch == 1) {
        break;
      }
    }
    CHECK(recorder.calls == Calls{false, false, true});
  }

  TEST_CASE("a named range restores it at the end of the loop as well") {
    std::vector<int> batches{0, 1, 2, 3};
    Recorder recorder;
    auto range = fabric::accumulate(batches, 4, recorder.hook());
    for ([[maybe_unused]] auto [batch, micro] : range) {
      break;
    }
    CHECK(recorder.calls == Calls{false, true});
  }

  TEST_CASE("an exception restores synchronisation") {
    std::vector<int> batches{0, 1, 2, 3};
    Recorder recorder;
    CHECK_THROWS_AS(
        [&] {
          for ([[maybe_unused]] auto [batch, micro] :
               fabric::accumulate(batches, 4, recorder.hook())) {
            throw std::runtime_error("loss is nan");
          }
        }(),
        std::runtime_error);
    CHECK(recorder.calls == Calls{false, true});
  }

  TEST_CASE("an empty range has no steps, a window of one synchronises always") {
    std::vector<int> none;
    Recorder recorder;
    for ([[maybe_unused]] auto [batch, micro] : fabric::accumulate(none, 2, recorder.hook())) {
      FAIL("an empty range has no batch");
    }
    CHECK(recorder.calls.empty());
    std::vector<int> two{0, 1};
    for (auto [batch, micro] : fabric::accumulate(two, 1, recorder.hook())) {
      CHECK(micro.last());
      CHECK(micro.first());
    }
    CHECK(recorder.calls == Calls{true, true});
  }

  TEST_CASE("over a loader, also one that resumes in mid-epoch") {
    auto dataset = torch::data::datasets::TensorDataset(torch::arange(10, torch::kFloat))
                       .map(torch::data::transforms::Stack<torch::data::TensorExample>());
    auto loader = fabric::make_data_loader<torch::data::samplers::SequentialSampler>(
        dataset, 2, fabric::LoaderContext{});
    const auto counts = [&] {
      std::vector<std::size_t> result;
      for (auto [batch, micro] : fabric::accumulate(*loader, 2)) {
        CHECK(batch.data.size(0) == 2);
        result.push_back(micro.count());
      }
      return result;
    };
    CHECK(counts() == std::vector<std::size_t>{2, 2, 2, 2, 1});
    loader.load_state({.epoch = 0, .position = 2});
    CHECK(counts() == std::vector<std::size_t>{2, 2, 1});
    CHECK(counts() == std::vector<std::size_t>{2, 2, 2, 2, 1});
  }

  TEST_CASE("a range may be handed over") {
    int sum = 0;
    for (auto [batch, micro] : fabric::accumulate(std::vector<int>{1, 2, 3}, 2)) {
      sum += batch;
    }
    CHECK(sum == 6);
  }

  TEST_CASE("a window below one and a wrong size are errors") {
    std::vector<int> batches{1};
    CHECK_THROWS_WITH_AS(fabric::accumulate(batches, 0), doctest::Contains("got 0"),
                         fabric::MisconfigurationError);
    CHECK_THROWS_AS(fabric::accumulate(batches, -2), fabric::MisconfigurationError);

    struct Liar {
      std::vector<int> batches{1, 2, 3};
      std::size_t told;
      auto begin() { return batches.begin(); }
      auto end() { return batches.end(); }
      std::size_t size() const { return told; }
    };
    const auto run = [](std::size_t told) {
      for ([[maybe_unused]] auto [batch, micro] : fabric::accumulate(Liar{.told = told}, 2)) {
      }
    };
    CHECK_NOTHROW(run(3));
    CHECK_THROWS_WITH_AS(run(4), doctest::Contains("got only 3 batches; expected 4"),
                         fabric::MisconfigurationError);
    CHECK_THROWS_WITH_AS(run(2), doctest::Contains("got more than 2 batches; expected 2"),
                         fabric::MisconfigurationError);
  }
}
