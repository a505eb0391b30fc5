// Where parameters lie in a flat storage, and what a shard holds of them.
#include <doctest/doctest.h>

#include <strategies/flat/shard_layout.h>

TEST_SUITE("strategies.shard_layout") {
  TEST_CASE("parameters and shards begin at 64 bytes, shards are equal") {
    for (const int world : {1, 2, 3, 7}) {
      const auto layout = fabric::make_shard_layout({10, 1, 33}, sizeof(float), world);
      CAPTURE(world);
      CHECK(layout.offsets == std::vector<std::int64_t>{0, 16, 32});
      CHECK(layout.shard % 16 == 0);
      CHECK(layout.total == world * layout.shard);
      CHECK(layout.total >= 65);
      CHECK(layout.total < 80 + 16 * world);
    }
  }

  TEST_CASE("every element of a parameter is in one shard") {
    for (const int world : {1, 2, 3, 5}) {
      const auto layout = fabric::make_shard_layout({10, 1, 33, 7}, sizeof(double), world);
      for (std::size_t p = 0; p < layout.numels.size(); ++p) {
        std::int64_t elements = 0;
        std::int64_t next = layout.offsets[p];
        for (int rank = 0; rank < world; ++rank) {
          const auto range = layout.parameter_in_shard(rank, p);
          if (range.size > 0) {
            CHECK(rank * layout.shard + range.begin == next);
            next += range.size;
          }
          elements += range.size;
        }
        CHECK(elements == layout.numels[p]);
      }
    }
  }
}
