#include <doctest/doctest.h>

#include <accelerators/collectives/world.h>
#include <accelerators/error.h>
#include <fabric/seed.h>
#include <fabric/worker_seed.h>
#include <torch/types.h>

#include <cstdlib>
#include <thread>

namespace {

torch::Tensor draw() {
  return torch::rand({4});
}

// Makes this process another rank for the length of a test.
struct AsRank {
  AsRank(int rank, int size) {
    fabric::World world;
    world.rank = rank;
    world.size = size;
    fabric::detail::set_world(world);
  }
  ~AsRank() { fabric::detail::set_world({}); }
};

struct Variable {
  explicit Variable(const char* value) { setenv("FABRIC_GLOBAL_SEED", value, /*overwrite=*/1); }
  ~Variable() { unsetenv("FABRIC_GLOBAL_SEED"); }
};

}  // namespace

TEST_SUITE("fabric.seed") {
  TEST_CASE("the same seed gives the same numbers, and is returned and remembered") {
    CHECK(fabric::seed_everything(42) == 42);
    CHECK(fabric::global_seed() == 42u);
    const auto first = draw();
    fabric::seed_everything(42);
    CHECK(torch::equal(draw(), first));
    fabric::seed_everything(43);
    CHECK(!torch::equal(draw(), first));
  }

  TEST_CASE("per_rank draws apart on each rank and keeps the global seed") {
    fabric::seed_everything(10);
    const auto alone = draw();
    const AsRank rank(2, 4);
    fabric::seed_everything(10);
    CHECK(torch::equal(draw(), alone));
    CHECK(fabric::seed_everything(10, {.per_rank = true}) == 10);
    CHECK(fabric::global_seed() == 10u);
    const auto apart = draw();
    CHECK(!torch::equal(apart, alone));
    torch::manual_seed(12);
    CHECK(torch::equal(draw(), apart));
  }

  TEST_CASE("without a seed the environment decides, and 0 without that") {
    CHECK(fabric::seed_everything() == 0);
    const Variable variable("1234");
    CHECK(fabric::seed_everything() == 1234);
    CHECK(fabric::seed_everything(5) == 5);
  }

  TEST_CASE("seeds out of bounds and variables that are no numbers are errors") {
    using fabric::MisconfigurationError;
    CHECK_THROWS_WITH_AS(fabric::seed_everything(-1), doctest::Contains("got -1"),
                         MisconfigurationError);
    CHECK_NOTHROW(fabric::seed_everything(4294967295));
    CHECK_THROWS_AS(fabric::seed_everything(4294967296), MisconfigurationError);
    for (const char* text : {"", "abc", "12x", "1.5", "99999999999999999999"}) {
      const Variable variable(text);
      CHECK_THROWS_WITH_AS(fabric::seed_everything(), doctest::Contains("FABRIC_GLOBAL_SEED"),
                           MisconfigurationError);
    }
    const Variable negative("-3");
    CHECK_THROWS_WITH_AS(fabric::seed_everything(), doctest::Contains("got -3"),
                         MisconfigurationError);
  }

  TEST_CASE("worker_generator outside a loader follows the seed and goes on") {
    fabric::seed_everything(7);
    const auto first = torch::rand({4}, fabric::worker_generator());
    const auto second = torch::rand({4}, fabric::worker_generator());
    CHECK(!torch::equal(first, second));
    fabric::seed_everything(7);
    CHECK(torch::equal(torch::rand({4}, fabric::worker_generator()), first));
    torch::Tensor elsewhere;
    std::thread([&] { elsewhere = torch::rand({4}, fabric::worker_generator()); }).join();
    CHECK(torch::equal(elsewhere, first));
  }

  TEST_CASE("worker_generator in a batch depends on seed, epoch, rank and batch, and nests") {
    using fabric::detail::WorkerSeedScope;
    const auto draw_in = [](std::uint64_t seed, std::size_t epoch, std::size_t rank,
                            std::size_t batch) {
      WorkerSeedScope scope(seed, epoch, rank, batch);
      return torch::rand({4}, fabric::worker_generator());
    };
    const auto expected = draw_in(1, 2, 3, 4);
    CHECK(torch::equal(draw_in(1, 2, 3, 4), expected));
    CHECK(!torch::equal(draw_in(2, 2, 3, 4), expected));
    CHECK(!torch::equal(draw_in(1, 3, 3, 4), expected));
    CHECK(!torch::equal(draw_in(1, 2, 4, 4), expected));
    CHECK(!torch::equal(draw_in(1, 2, 3, 5), expected));
    CHECK(!torch::equal(draw_in(1, 3, 2, 4), expected));

    WorkerSeedScope outer(1, 2, 3, 4);
    { WorkerSeedScope inner(9, 9, 9, 9); }
    CHECK(torch::equal(torch::rand({4}, fabric::worker_generator()), expected));
  }
}
