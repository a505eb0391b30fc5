#include <doctest/doctest.h>

#include <fabric/data_loader.h>
#include <fabric/seed.h>
#include <torch/data/datasets.h>
#include <torch/data/transforms.h>
#include <torch/types.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>

namespace {

namespace samplers = torch::data::samplers;
namespace datasets = torch::data::datasets;
using fabric::LoaderContext;

using fabric::Tail;
using Batches = std::vector<std::vector<int>>;

// Example i is (i, 10 i), shapes (1) and (): easy to recognise in a batch.
struct Numbers : datasets::Dataset<Numbers> {
  explicit Numbers(std::size_t count) : count(count) {}
  torch::data::Example<> get(std::size_t i) override {
    const auto value = static_cast<float>(i);
    return {torch::full({1}, value), torch::tensor(10.0f * value)};
  }
  std::optional<std::size_t> size() const override { return count; }
  std::size_t count;
};

auto stacked(std::size_t count) {
  return Numbers(count).map(torch::data::transforms::Stack<>());
}

// The first column of each batch of the next epoch.
template <class Loader>
Batches read(const Loader& loader) {
  Batches batches;
  for (auto& batch : loader) {
    std::vector<int> values;
    for (std::int64_t i = 0; i < batch.data.size(0); ++i) {
      CHECK(batch.target[i].template item<int>() == 10 * batch.data[i].template item<int>());
      values.push_back(batch.data[i].template item<int>());
    }
    batches.push_back(std::move(values));
  }
  return batches;
}

LoaderContext place(std::size_t rank, std::size_t world_size, std::uint64_t seed = 0) {
  return {.rank = rank, .world_size = world_size, .seed = seed};
}

// Batches of a struct of one's own, built by the dataset itself.
struct Sentence {
  torch::Tensor tokens;
  std::optional<torch::Tensor> mask;
  std::vector<std::string> texts;
};
struct Sentences : datasets::BatchDataset<Sentences, Sentence> {
  Sentence get_batch(at::ArrayRef<size_t> indices) override {
    Sentence batch;
    batch.tokens = torch::zeros({static_cast<std::int64_t>(indices.size()), 3});
    batch.mask = torch::ones_like(batch.tokens);
    for (const auto index : indices) {
      batch.texts.push_back(std::to_string(index));
    }
    return batch;
  }
  std::optional<std::size_t> size() const override { return 7; }
};

// Fails at one example.
struct BrokenAt : datasets::Dataset<BrokenAt> {
  torch::data::Example<> get(std::size_t i) override {
    if (i == 5) {
      throw std::out_of_range("image 5 is truncated");
    }
    return Numbers(8).get(i);
  }
  std::optional<std::size_t> size() const override { return 8; }
};

// Draws its examples.
struct Noise : datasets::Dataset<Noise> {
  torch::data::Example<> get(std::size_t i) override {
    const auto noise = torch::rand({2}, fabric::worker_generator());
    return {noise, torch::tensor(static_cast<float>(i))};
  }
  std::optional<std::size_t> size() const override { return 23; }
};

struct Slow : datasets::Dataset<Slow> {
  torch::data::Example<> get(std::size_t i) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(i == 2 ? 400 : 0));
    return Numbers(4).get(i);
  }
  std::optional<std::size_t> size() const override { return 4; }
};

struct Unsized : datasets::Dataset<Unsized> {
  torch::data::Example<> get(std::size_t i) override { return Numbers(1).get(i); }
  std::optional<std::size_t> size() const override { return std::nullopt; }
};

}  // namespace

TEST_SUITE("fabric.data_loader") {
  TEST_CASE("in order, alone: every example once, the last batch smaller") {
    for (const std::size_t workers : {0, 1, 2}) {
      auto loader = fabric::make_data_loader<samplers::SequentialSampler>(
          stacked(5), {.batch_size = 2, .workers = workers}, {});
      CHECK(loader.size() == 3);
      CHECK(loader->dataset_size() == 5);
      CHECK(loader.batch_size() == 2);
      CHECK(read(*loader) == Batches{{0, 1}, {2, 3}, {4}});
      CHECK(read(loader) == Batches{{0, 1}, {2, 3}, {4}});
    }
  }

  TEST_CASE("options in every form LibTorch users write them") {
    const Batches expected{{0, 1}, {2, 3}};
    const std::size_t size = 2;
    const auto torch_options = torch::data::DataLoaderOptions().batch_size(2).workers(1);
    const auto own = fabric::DataLoaderOptions{.batch_size = 2};
    using S = samplers::SequentialSampler;
    CHECK(read(fabric::make_data_loader<S>(stacked(4), 2, {})) == expected);
    CHECK(read(fabric::make_data_loader<S>(stacked(4), size, {})) == expected);
    CHECK(read(fabric::make_data_loader<S>(stacked(4), torch_options, {})) == expected);
    CHECK(read(fabric::make_data_loader<S>(stacked(4), own, {})) == expected);
    CHECK(read(fabric::make_data_loader<S>(stacked(4), {.batch_size = 2}, {})) == expected);
    CHECK(fabric::make_data_loader<S>(stacked(4), {}, {}).batch_size() == 1);
    const auto dropping = torch::data::DataLoaderOptions(3).drop_last(true);
    CHECK(read(fabric::make_data_loader<S>(stacked(4), dropping, {})) == Batches{{0, 1, 2}});
  }

  TEST_CASE("samplers choose the order") {
    const Batches in_order{{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}};
    const Batches shuffled{
        {3, 4, 0, 2, 11, 8, 12, 5, 10, 6, 9, 1, 7}};  // Python's, seed 0, epoch 0
    using DistributedInOrder = samplers::DistributedSequentialSampler;
    CHECK(read(fabric::make_data_loader<samplers::SequentialSampler>(stacked(13), 13, {})) ==
          in_order);
    CHECK(read(fabric::make_data_loader<DistributedInOrder>(stacked(13), 13, {})) == in_order);
    CHECK(read(fabric::make_data_loader<samplers::RandomSampler>(stacked(13), 13, {})) == shuffled);
    CHECK(read(fabric::make_data_loader<samplers::DistributedRandomSampler>(stacked(13), 13, {})) ==
          shuffled);
    CHECK(read(fabric::make_data_loader(stacked(13), 13, {})) == shuffled);
  }

  TEST_CASE("the order depends on seed and epoch only") {
    auto loader = fabric::make_data_loader(stacked(20), {.batch_size = 6}, place(0, 1, 3));
    CHECK(loader.epoch() == 0);
    const auto first = read(loader);
    CHECK(loader.epoch() == 0);
    const auto second = read(loader);
    CHECK(loader.epoch() == 1);
    CHECK(first != second);
    loader.set_epoch(0);
    CHECK(loader.epoch() == 0);
    CHECK(read(loader) == first);
    CHECK(read(loader) == second);
    torch::manual_seed(99);  // nobody else's random numbers matter
    CHECK(read(fabric::make_data_loader(stacked(20), {.batch_size = 6}, place(0, 1, 3))) == first);
    CHECK(read(fabric::make_data_loader(stacked(20), {.batch_size = 6}, place(0, 1, 4))) != first);
    CHECK(read(fabric::make_data_loader(stacked(20), {.batch_size = 6, .seed = 3},
                                        place(0, 1, 4))) == first);
  }

  TEST_CASE("ranks share the examples, with as many batches as size() says") {
    for (const Tail tail : {Tail::pad, Tail::drop, Tail::exact}) {
      for (const std::size_t workers : {0, 2}) {
        for (const std::size_t batch_size : {1, 3, 4}) {
          std::map<int, int> seen;
          std::size_t examples = 0;
          for (std::size_t rank = 0; rank < 4; ++rank) {
            auto loader = fabric::make_data_loader(
                stacked(18), {.batch_size = batch_size, .workers = workers, .tail = tail},
                place(rank, 4));
            CHECK(loader.global_batch_size() == 4 * batch_size);
            const auto batches = read(loader);
            CHECK(batches.size() == loader.size());
            const std::size_t examples_of_longest = tail == Tail::drop ? 4 : 5;
            CHECK(loader.size() == (examples_of_longest + batch_size - 1) / batch_size);
            for (const auto& batch : batches) {
              examples += batch.size();
              for (const int value : batch) {
                ++seen[value];
              }
            }
          }
          CHECK(seen.size() == (tail == Tail::drop ? 16 : 18));
          CHECK(examples == (tail == Tail::pad ? 20 : seen.size()));
        }
      }
    }
  }

  TEST_CASE("drop_last leaves out a last batch that is smaller") {
    auto loader = fabric::make_data_loader<samplers::SequentialSampler>(
        stacked(11), {.batch_size = 2, .drop_last = true}, place(1, 2));
    CHECK(loader.size() == 3);
    CHECK(read(loader) == Batches{{1, 3}, {5, 7}, {9, 0}});
    auto uneven = fabric::make_data_loader<samplers::SequentialSampler>(
        stacked(9), {.batch_size = 2, .drop_last = true}, place(0, 2));
    CHECK(read(uneven) == Batches{{0, 2}, {4, 6}});
  }

  TEST_CASE("exact: empty batches have the shapes and types of the others") {
    const fabric::DataLoaderOptions options{.batch_size = 2, .tail = Tail::exact};
    using S = samplers::SequentialSampler;
    auto loader = fabric::make_data_loader<S>(stacked(9), options, place(3, 4));
    CHECK(loader.size() == 2);
    std::vector<std::vector<std::int64_t>> shapes;
    for (auto& batch : *loader) {
      shapes.push_back(batch.data.sizes().vec());
      CHECK(batch.target.size(0) == batch.data.size(0));
    }
    CHECK(shapes == std::vector<std::vector<std::int64_t>>{{2, 1}, {0, 1}});

    std::vector<std::size_t> sizes;  // a list of examples is empty without elements
    for (auto& batch : fabric::make_data_loader<S>(Numbers(9), options, place(3, 4))) {
      sizes.push_back(batch.size());
    }
    CHECK(sizes == std::vector<std::size_t>{2, 0});

    const fabric::DataLoaderOptions single{.batch_size = 1, .tail = Tail::exact};
    auto structs = fabric::make_data_loader<S>(Sentences(), single, place(3, 4));
    std::vector<std::int64_t> rows;
    for (auto& batch : structs) {
      rows.push_back(batch.tokens.size(0));
      CHECK(batch.tokens.size(1) == 3);
      CHECK(batch.mask->size(0) == batch.tokens.size(0));
    }
    CHECK(rows == std::vector<std::int64_t>{1, 0});
  }

  TEST_CASE("structs are batches, and all of a batch is moved to the device") {
    LoaderContext context;
    context.device = c10::Device(c10::kMeta);
    auto loader = fabric::make_data_loader<samplers::SequentialSampler>(
        Sentences(), {.batch_size = 4, .workers = 2}, context);
    fabric::DataLoader<Sentence> nameable = loader;
    std::vector<std::string> texts;
    for (auto& batch : *nameable) {
      CHECK(batch.tokens.is_meta());
      CHECK(batch.mask->is_meta());
      texts.insert(texts.end(), batch.texts.begin(), batch.texts.end());
    }
    CHECK(texts == std::vector<std::string>{"0", "1", "2", "3", "4", "5", "6"});
  }

  TEST_CASE("datasets without a stack yield lists of examples") {
    auto loader = fabric::make_data_loader<samplers::SequentialSampler>(Numbers(3), 2, {});
    static_assert(std::is_same_v<decltype(loader)::BatchType, std::vector<torch::data::Example<>>>);
    std::vector<std::size_t> sizes;
    for (auto& batch : *loader) {
      sizes.push_back(batch.size());
    }
    CHECK(sizes == std::vector<std::size_t>{2, 1});
    auto tensors = fabric::make_data_loader(datasets::TensorDataset(torch::ones({4, 2})), 4, {});
    CHECK((*tensors.begin()).size() == 4);
    auto shared = fabric::make_data_loader<samplers::SequentialSampler>(
        datasets::make_shared_dataset<Numbers>(3), {.batch_size = 2, .workers = 2}, {});
    CHECK((*shared->begin())[1].data.item<int>() == 1);
  }

  TEST_CASE("a loop may be left early and begun anew") {
    for (const std::size_t workers : {0, 2}) {
      auto loader = fabric::make_data_loader<samplers::SequentialSampler>(
          stacked(20), {.batch_size = 2, .workers = workers}, {});
      for (int i = 0; i < 3; ++i) {
        for (auto& batch : *loader) {
          CHECK(batch.data[0].item<int>() == 0);
          break;
        }
      }
      CHECK(loader.epoch() == 2);
      CHECK(read(loader).size() == 10);
    }
  }

  TEST_CASE("one iteration at a time; copies are the same loader") {
    auto loader = fabric::make_data_loader(stacked(4), 1, {});
    auto copy = loader;
    for ([[maybe_unused]] auto& batch : loader) {
      CHECK_THROWS_WITH_AS(copy.begin(), doctest::Contains("another one"),
                           fabric::MisconfigurationError);
      break;
    }
    CHECK(read(copy).size() == 4);
    CHECK(loader.epoch() == 1);
  }

  TEST_CASE("a temporary loader lives as long as its loop") {
    int count = 0;
    for ([[maybe_unused]] auto& batch : *fabric::make_data_loader(stacked(4), 2, {})) {
      ++count;
    }
    CHECK(count == 2);
    const fabric::DataLoader<torch::data::Example<>> empty;
    CHECK(!empty);
    CHECK_THROWS_WITH_AS(empty.size(), doctest::Contains("empty"), fabric::MisconfigurationError);
  }

  TEST_CASE("what a dataset throws comes out of the loop as it was thrown") {
    for (const std::size_t workers : {0, 2}) {
      auto loader = fabric::make_data_loader<samplers::SequentialSampler>(
          BrokenAt().map(torch::data::transforms::Stack<>()), {.batch_size = 2, .workers = workers},
          {});
      for (int epoch = 0; epoch < 2; ++epoch) {
        int batches = 0;
        const auto run = [&] {
          for ([[maybe_unused]] auto& batch : *loader) {
            ++batches;
          }
        };
        CHECK_THROWS_WITH_AS(run(), "image 5 is truncated", std::out_of_range);
        CHECK(batches == 2);
      }
    }
  }

  TEST_CASE("a worker that takes too long is an error, and the loader can be used again") {
    auto loader = fabric::make_data_loader<samplers::SequentialSampler>(
        Slow().map(torch::data::transforms::Stack<>()),
        {.batch_size = 1, .workers = 1, .timeout = std::chrono::milliseconds(50)}, {});
    for (int i = 0; i < 2; ++i) {
      CHECK_THROWS_WITH(read(loader), doctest::Contains("timeout was 50 ms"));
    }
    CHECK(loader.epoch() == 1);
  }

  TEST_CASE("random numbers in a dataset do not depend on the number of workers") {
    const auto draw = [](std::size_t workers, std::size_t rank, std::uint64_t seed) {
      auto loader =
          fabric::make_data_loader(Noise().map(torch::data::transforms::Stack<>()),
                                   {.batch_size = 3, .workers = workers}, place(rank, 2, seed));
      std::vector<torch::Tensor> drawn;
      for (int epoch = 0; epoch < 2; ++epoch) {
        for (auto& batch : *loader) {
          drawn.push_back(batch.data);
        }
      }
      return torch::cat(drawn);
    };
    fabric::seed_everything(0);
    const auto expected = draw(0, 0, 1);
    CHECK(torch::equal(draw(0, 0, 1), expected));
    CHECK(torch::equal(draw(1, 0, 1), expected));
    CHECK(torch::equal(draw(4, 0, 1), expected));
    CHECK(!torch::equal(draw(0, 0, 2), expected));
    CHECK(!torch::equal(draw(0, 1, 1), expected));
    CHECK(!torch::equal(expected.slice(0, 0, 12), expected.slice(0, 12, 24)));  // the epochs
    fabric::seed_everything(0, {.workers = false});
    CHECK(!torch::equal(draw(0, 0, 1), draw(0, 0, 1)));
    fabric::seed_everything(0);
  }

  TEST_CASE("a saved place resumes in mid-epoch, in the same order") {
    for (const std::size_t workers : {0, 2}) {
      const fabric::DataLoaderOptions options{.batch_size = 2, .workers = workers};
      auto original = fabric::make_data_loader(stacked(14), options, place(1, 2, 8));
      read(original);
      Batches expected;
      fabric::LoaderState saved;
      for (auto& batch : original) {
        const auto values = batch.data.flatten();
        expected.emplace_back(values.template const_data_ptr<float>(),
                              values.template const_data_ptr<float>() + values.size(0));
        if (expected.size() == 2) {
          saved = original.state();
        }
      }
      CHECK(saved.epoch == 1);
      CHECK(saved.position == 2);
      expected.erase(expected.begin(), expected.begin() + 2);
      auto resumed = fabric::make_data_loader(stacked(14), options, place(1, 2, 8));
      resumed.load_state(saved);
      CHECK(resumed.remaining() == 2);
      CHECK(resumed.epoch() == 1);
      CHECK(read(resumed) == expected);
      CHECK(resumed.state().epoch == 2);  // at its end: the next epoch
      CHECK(resumed.state().position == 0);
      CHECK(read(resumed) == read(original));
    }
    auto loader = fabric::make_data_loader(stacked(4), 2, {});
    CHECK_THROWS_WITH_AS(loader.load_state({.epoch = 0, .position = 2}),
                         doctest::Contains("position 2; expected a position below 2"),
                         fabric::MisconfigurationError);
  }

  TEST_CASE("an iteration under way keeps its epoch when the next one is set") {
    auto loader = fabric::make_data_loader<samplers::SequentialSampler>(stacked(6), 2, {});
    Batches seen;
    for (auto& batch : loader) {
      seen.push_back({batch.data[0].item<int>(), batch.data[1].item<int>()});
      loader.set_epoch(7);
    }
    CHECK(seen == Batches{{0, 1}, {2, 3}, {4, 5}});
    CHECK(loader.epoch() == 7);
    read(loader);
    CHECK(loader.epoch() == 7);
  }

  TEST_CASE("loaders are ranges: algorithms take them") {
    auto loader = fabric::make_data_loader(stacked(6), 2, {});
    static_assert(std::ranges::input_range<decltype(loader)>);
    static_assert(std::ranges::sized_range<decltype(loader)>);
    CHECK(std::count_if(loader.begin(), loader.end(), [](auto&) { return true; }) == 3);
    CHECK(std::ranges::all_of(loader, [](auto& batch) { return batch.data.size(0) == 2; }));
  }

  TEST_CASE("what cannot be loaded is refused with the reason") {
    using fabric::MisconfigurationError;
    CHECK_THROWS_WITH_AS(fabric::make_data_loader(stacked(4), {.batch_size = 0}, {}),
                         doctest::Contains("batch size 0"), MisconfigurationError);
    CHECK_THROWS_WITH_AS(fabric::make_data_loader(stacked(4), -3, {}),
                         doctest::Contains("batch size -3"), MisconfigurationError);
    CHECK_THROWS_WITH_AS(fabric::make_data_loader(stacked(0), 1, {}), doctest::Contains("is empty"),
                         MisconfigurationError);
    CHECK_THROWS_WITH_AS(fabric::make_data_loader(Unsized(), 1, {}), doctest::Contains("its size"),
                         MisconfigurationError);
    CHECK_THROWS_WITH_AS(
        fabric::make_data_loader(stacked(4), {.tail = Tail::exact, .drop_last = true}, {}),
        doctest::Contains("Tail::exact"), MisconfigurationError);
    CHECK_THROWS_WITH_AS(fabric::make_data_loader(stacked(3), {.tail = Tail::drop}, place(0, 4)),
                         doctest::Contains("no batch; got 3 examples for 4 ranks"),
                         MisconfigurationError);
    CHECK_THROWS_WITH_AS(fabric::make_data_loader(stacked(4), {.workers = 1, .max_jobs = 0}, {}),
                         doctest::Contains("max_jobs 0"), MisconfigurationError);
  }

  TEST_CASE("max_jobs without workers loses no batch") {
    auto loader = fabric::make_data_loader(stacked(6), {.batch_size = 2, .max_jobs = 4}, {});
    CHECK(read(loader).size() == 3);
  }
}
