#include <doctest/doctest.h>

#include <fabric/data_loader.h>
#include <torch/data/datasets.h>
#include <torch/data/transforms.h>

#include <set>
#include <stdexcept>

namespace {

namespace samplers = torch::data::samplers;
using fabric::LoaderContext;
using fabric::make_data_loader;
using fabric::Tail;

// Example i is (i, 10 i), shapes (1) and (): easy to recognise in a batch.
struct Numbers : torch::data::datasets::Dataset<Numbers> {
  explicit Numbers(std::size_t n) : n(n) {}
  torch::data::Example<> get(std::size_t i) override {
    const auto value = static_cast<float>(i);
    return {torch::full({1}, value), torch::tensor(10.0f * value)};
  }
  std::optional<std::size_t> size() const override { return n; }
  std::size_t n;
};

auto stacked(std::size_t n) {
  return Numbers(n).map(torch::data::transforms::Stack<>());
}

template <class Loader>
std::vector<std::vector<int>> read(const Loader& loader) {
  std::vector<std::vector<int>> batches;
  for (auto& batch : loader) {
    std::vector<int> values;
    for (std::int64_t i = 0; i < batch.data.size(0); ++i) {
      values.push_back(batch.data[i].template item<int>());
    }
    batches.push_back(std::move(values));
  }
  return batches;
}

using Batches = std::vector<std::vector<int>>;

}  // namespace

TEST_SUITE("fabric.data_loader") {
  TEST_CASE("in order, alone: every example once, the last batch smaller") {
    auto loader = make_data_loader<samplers::SequentialSampler>(stacked(5), 2, {});
    CHECK(loader.size() == 3);
    CHECK(loader->dataset_size() == 5);
    CHECK(read(*loader) == Batches{{0, 1}, {2, 3}, {4}});
  }
}
