// Loaders that run ahead of their loop: same batches, places, epochs and errors as those that
// don't.
#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <set>
#include <stdexcept>

#include <torch/torch.h>

#include <fabric/data_loader.h>

namespace {

namespace samplers = torch::data::samplers;
using fabric::DataLoaderOptions;
using fabric::LoaderContext;
using Batches = std::vector<std::vector<std::int64_t>>;

// Example i is i; notes what it was asked for, throws at those in `broken`.
struct Notes : torch::data::datasets::Dataset<Notes, torch::Tensor> {
  explicit Notes(std::int64_t count, std::set<std::int64_t> broken = {})
      : count(count), broken(std::move(broken)) {}
  torch::Tensor get(std::size_t i) override {
    const auto value = static_cast<std::int64_t>(i);
    ++*asked;
    if (broken.count(value) > 0) {
      throw std::out_of_range("example " + std::to_string(i) + " is broken");
    }
    return torch::tensor(value);
  }
  std::optional<std::size_t> size() const override { return count; }

  std::int64_t count;
  std::set<std::int64_t> broken;
  std::shared_ptr<std::atomic<int>> asked = std::make_shared<std::atomic<int>>(0);
};

using Loader = fabric::DataLoader<std::vector<torch::Tensor>>;

template <class Sampler = samplers::SequentialSampler>
Loader loader_over(Notes notes, const DataLoaderOptions& options) {
  return fabric::make_data_loader<Sampler>(std::move(notes), options,
                                           {.seed = 5, .prefetch_anywhere = true});
}

std::vector<std::int64_t> values_of(const std::vector<torch::Tensor>& batch) {
  std::vector<std::int64_t> values;
  for (const torch::Tensor& example : batch) {
    values.push_back(example.item<std::int64_t>());
  }
  return values;
}

// An epoch: its batches, and the loader's place at each of them.
struct Epoch {
  Batches batches;
  std::vector<std::int64_t> places;
  friend bool operator==(const Epoch&, const Epoch&) = default;
};
Epoch read(const Loader& loader, std::size_t most = 1000) {
  Epoch epoch;
  for (auto& batch : loader) {
    epoch.batches.push_back(values_of(batch));
    const fabric::LoaderState state = loader.state();
    epoch.places.push_back(1000 * state.epoch + state.position);
    if (epoch.batches.size() == most) {
      break;
    }
  }
  return epoch;
}

void for_each_setting(const std::function<void(DataLoaderOptions)>& check) {
  for (const std::size_t workers : {0, 2}) {
    for (const std::size_t prefetch : {1, 2, 5, 50}) {
      CAPTURE(workers);
      CAPTURE(prefetch);
      check({.batch_size = 2, .workers = workers, .prefetch = prefetch});
    }
  }
}

}  // namespace

TEST_SUITE("fabric.prefetch") {
  TEST_CASE("it loads that many batches ahead, and not on devices that copy when they are told") {
    for (const std::size_t prefetch : {0, 1, 3}) {
      const Notes notes(20);
      const auto asked = notes.asked;
      auto loader = loader_over(notes, {.batch_size = 2, .prefetch = prefetch});
      int batches = 0;
      for ([[maybe_unused]] auto& batch : loader) {
        ++batches;
        CHECK(*asked == std::min<int>(20, 2 * (batches + static_cast<int>(prefetch))));
      }
      CHECK(batches == 10);
    }
    const Notes notes(20);
    auto plain = fabric::make_data_loader<samplers::SequentialSampler>(
        notes, DataLoaderOptions{.batch_size = 2, .prefetch = 3}, {});
    const auto first = plain.begin();
    CHECK(*notes.asked == 2);
  }

  TEST_CASE("batches, places and epochs are those of a loader that does not") {
    for_each_setting([](DataLoaderOptions options) {
      auto ahead = loader_over<samplers::RandomSampler>(Notes(9), options);
      options.prefetch = 0;
      auto plain = loader_over<samplers::RandomSampler>(Notes(9), options);
      for (int epoch = 0; epoch < 3; ++epoch) {
        CHECK((read(ahead) == read(plain)));
        CHECK(ahead.epoch() == plain.epoch());
      }
      CHECK((read(ahead, 2) == read(plain, 2)));  // left early: what was loaded ahead is forgotten
      CHECK((read(ahead) == read(plain)));
      ahead.set_epoch(1);
      plain.set_epoch(1);
      CHECK((read(ahead, 3) == read(plain, 3)));
      const fabric::LoaderState state = ahead.state();
      CHECK(state.epoch == 1);
      CHECK(state.position == 3);
      ahead.load_state(state);
      plain.load_state(state);
      const Epoch rest = read(ahead);
      CHECK((rest == read(plain)));
      CHECK(rest.batches.size() == 2);
    });
  }

  TEST_CASE("an error comes out at its batch, and the loop may go on behind it") {
    for_each_setting([](const DataLoaderOptions& options) {
      auto loader = loader_over(Notes(12, {5, 6}), options);
      for (int epoch = 0; epoch < 2; ++epoch) {
        Batches seen;
        auto batch = loader.begin();
        seen.push_back(values_of(*batch));
        seen.push_back(values_of(*++batch));
        CHECK_THROWS_WITH_AS(++batch, "example 5 is broken", std::out_of_range);
        CHECK(loader.state().position == 2);
        CHECK_THROWS_WITH_AS(++batch, "example 6 is broken", std::out_of_range);
        for (++batch; batch != loader.end(); ++batch) {
          seen.push_back(values_of(*batch));
        }
        CHECK(seen == Batches{{0, 1}, {2, 3}, {8, 9}, {10, 11}});
      }
    });
    const Notes notes(12, {2});
    auto loader = loader_over(notes, {.batch_size = 2, .prefetch = 4});
    auto batch = loader.begin();
    CHECK(*notes.asked == 3);  // nothing behind an error is loaded before it came out
  }

  TEST_CASE("batches ahead are let go of with the iteration") {
    std::weak_ptr<int> alive;
    fabric::detail::BatchesAhead<std::vector<std::shared_ptr<int>>> ahead(2, c10::kCPU);
    int loaded = 0;
    const auto load = [&]() -> std::optional<std::vector<std::shared_ptr<int>>> {
      auto value = std::make_shared<int>(loaded++);
      alive = value;
      return std::vector{value};
    };
    CHECK(*ahead.next(load)->front() == 0);
    CHECK(loaded == 3);
    CHECK(*alive.lock() == 2);
    ahead.clear();
    CHECK(alive.expired());
    CHECK(*ahead.next(load)->front() == 3);
  }
}
