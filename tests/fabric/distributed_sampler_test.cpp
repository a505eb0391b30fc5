#include <doctest/doctest.h>

#include <accelerators/error.h>
#include <fabric/distributed_sampler.h>
#include <tests/baselines/sampler_baseline.h>
#include <torch/data/dataloader.h>
#include <torch/data/datasets/base.h>
#include <torch/serialize.h>

#include <algorithm>
#include <map>
#include <sstream>

namespace {

using fabric::DistributedSampler;
using fabric::Tail;
using Indices = std::vector<std::size_t>;

// The batches of the next epoch.
std::vector<Indices> batches(DistributedSampler sampler, std::size_t batch_size) {
  std::vector<Indices> result;
  sampler.reset();
  while (auto batch = sampler.next(batch_size)) {
    result.push_back(std::move(*batch));
  }
  return result;
}

Indices flat(const std::vector<Indices>& batches) {
  Indices result;
  for (const auto& batch : batches) {
    result.insert(result.end(), batch.begin(), batch.end());
  }
  return result;
}

// The dataset whose examples are their own indices.
struct Identity : torch::data::datasets::BatchDataset<Identity, Indices> {
  Indices get_batch(at::ArrayRef<size_t> indices) override { return indices.vec(); }
  std::optional<size_t> size() const override { return 10; }
};

}  // namespace

TEST_SUITE("fabric.distributed_sampler") {
  TEST_CASE("deals what Python's DistributedSampler deals") {
    for (const auto& expected : kSamplerBaseline) {
      CAPTURE(expected.size);
      CAPTURE(expected.world_size);
      CAPTURE(expected.rank);
      CAPTURE(expected.epoch);
      for (const std::size_t batch_size : {1, 2, 5, 100}) {
        DistributedSampler sampler(expected.size, expected.world_size, expected.rank,
                                   {.shuffle = expected.shuffle,
                                    .seed = expected.seed,
                                    .tail = expected.drop ? Tail::drop : Tail::pad});
        sampler.set_epoch(expected.epoch);
        const auto dealt = batches(sampler, batch_size);
        CHECK(flat(dealt) == expected.indices);
        CHECK(sampler.num_samples() == expected.indices.size());
        CHECK(dealt.size() == (expected.indices.size() + batch_size - 1) / batch_size);
      }
    }
  }

  TEST_CASE("literal numbers, in case the baseline and the code change together") {
    DistributedSampler alone(13, 1, 0);
    CHECK(flat(batches(alone, 4)) == Indices{3, 4, 0, 2, 11, 8, 12, 5, 10, 6, 9, 1, 7});
    DistributedSampler padded(10, 4, 3, {.shuffle = false});
    CHECK(batches(padded, 2) == std::vector<Indices>{{3, 7}, {1}});
  }

  TEST_CASE("every reset is the next epoch, and copies share it") {
    DistributedSampler sampler(11, 2, 1, {.seed = 42});
    const DistributedSampler copy = sampler;
    CHECK(copy.epoch() == 0);
    const auto first = flat(batches(sampler, 4));
    CHECK(copy.epoch() == 0);
    const auto second = flat(batches(sampler, 4));
    CHECK(copy.epoch() == 1);
    CHECK(first != second);
    sampler.set_epoch(0);
    CHECK(flat(batches(copy, 4)) == first);
    CHECK(flat(batches(copy, 4)) == second);
  }

  TEST_CASE("setting the epoch does not disturb the iteration under way") {
    DistributedSampler sampler(6, 1, 0, {.shuffle = false});
    sampler.reset();
    CHECK(*sampler.next(2) == Indices{0, 1});
    sampler.set_epoch(9);
    CHECK(*sampler.next(2) == Indices{2, 3});
    CHECK(*sampler.next(2) == Indices{4, 5});
    CHECK(!sampler.next(2));
    CHECK(sampler.epoch() == 9);
  }

  TEST_CASE("exact: each index once over the ranks, the same number of batches on each") {
    for (const bool shuffle : {false, true}) {
      for (const std::size_t size : {1, 2, 7, 8, 9, 31}) {
        for (const std::size_t world : {1, 2, 3, 5, 8}) {
          for (const std::size_t batch_size : {1, 2, 3, 50}) {
            std::map<std::size_t, int> seen;
            std::vector<std::size_t> counts;
            for (std::size_t rank = 0; rank < world; ++rank) {
              DistributedSampler sampler(size, world, rank,
                                         {.shuffle = shuffle, .seed = 3, .tail = Tail::exact});
              const auto dealt = batches(sampler, batch_size);
              counts.push_back(dealt.size());
              for (const std::size_t index : flat(dealt)) {
                ++seen[index];
              }
            }
            CHECK(std::all_of(counts.begin(), counts.end(),
                              [&](std::size_t count) { return count == counts[0]; }));
            CHECK(seen.size() == size);
            CHECK(std::all_of(seen.begin(), seen.end(),
                              [](const auto& entry) { return entry.second == 1; }));
          }
        }
      }
    }
  }

  TEST_CASE("padding counts the examples seen twice") {
    CHECK(DistributedSampler(10, 4, 0).padding() == 2);
    CHECK(DistributedSampler(2, 7, 0).padding() == 5);
    CHECK(DistributedSampler(10, 4, 0, {.tail = Tail::drop}).padding() == 0);
    CHECK(DistributedSampler(10, 4, 0, {.tail = Tail::exact}).padding() == 0);
    CHECK(DistributedSampler(10, 1, 0).padding() == 0);
  }

  TEST_CASE("drop with more ranks than examples deals nothing") {
    CHECK(batches(DistributedSampler(3, 4, 0, {.tail = Tail::drop}), 2).empty());
  }

  TEST_CASE("LibTorch's own loader takes it, and its epoch stays settable") {
    DistributedSampler sampler(10, 2, 0, {.seed = 1});
    auto loader = torch::data::make_data_loader(Identity(), sampler, 2);
    const auto read = [&] {
      std::vector<Indices> result;
      for (auto& batch : *loader) {
        result.push_back(batch);
      }
      return result;
    };
    const auto first = read();
    CHECK(first.size() == 3);
    CHECK(flat(first).size() == 5);
    CHECK(read() != first);
    sampler.set_epoch(0);
    CHECK(read() == first);
  }

  TEST_CASE("a saved sampler continues where it was") {
    const auto transfer = [](const DistributedSampler& from, DistributedSampler& to) {
      std::stringstream stream;
      torch::serialize::OutputArchive out;
      from.save(out);
      out.save_to(stream);
      torch::serialize::InputArchive in;
      in.load_from(stream);
      to.load(in);
    };
    DistributedSampler original(9, 2, 0, {.seed = 5});
    original.set_epoch(3);
    original.reset();
    const auto first = original.next(2);
    DistributedSampler resumed(9, 2, 0, {.seed = 5});
    transfer(original, resumed);
    CHECK(resumed.epoch() == 3);
    resumed.reset();
    CHECK(resumed.next(2) == original.next(2));
    CHECK(resumed.next(2) == original.next(2));
    CHECK(resumed.next(2) == std::nullopt);

    transfer(resumed, original);  // saved at its end: the next epoch
    CHECK(original.epoch() == 4);
    CHECK(original.offset() == 0);
  }

  TEST_CASE("what cannot be dealt is refused") {
    using fabric::MisconfigurationError;
    CHECK_THROWS_WITH_AS(DistributedSampler(0), doctest::Contains("got size 0"),
                         MisconfigurationError);
    CHECK_THROWS_WITH_AS(DistributedSampler(5, 2, 2), doctest::Contains("got rank 2"),
                         MisconfigurationError);
    CHECK_THROWS_AS(DistributedSampler(5, 0, 0), MisconfigurationError);
    CHECK_THROWS_WITH_AS(DistributedSampler(5).next(0), doctest::Contains("batch size 0"),
                         MisconfigurationError);
  }
}
