// Predicting which units are used next.
#include <doctest/doctest.h>

#include <vector>

#include <strategies/flat/unshard_order.h>

namespace {

std::vector<std::size_t> upcoming(const fabric::UnshardOrder& order) {
  std::vector<std::size_t> units;
  order.upcoming([&](std::size_t unit) {
    units.push_back(unit);
    return true;
  });
  return units;
}

void run(fabric::UnshardOrder& order, fabric::UnshardOrder::Phase phase,
         const std::vector<std::size_t>& units) {
  order.begin(phase);
  for (const std::size_t unit : units) {
    order.use(unit);
  }
}

using Units = std::vector<std::size_t>;

}  // namespace

TEST_SUITE("strategies.unshard_order") {
  TEST_CASE("nothing is predicted the first time, then what was recorded, into the next phase") {
    fabric::UnshardOrder order;
    run(order, 1, {0, 1, 2});
    CHECK(upcoming(order).empty());
    run(order, 2, {2, 1, 0});
    order.begin(1);
    CHECK(upcoming(order) == Units{0, 1, 2, 2, 1, 0});
    order.use(0);
    order.use(1);
    CHECK(upcoming(order) == Units{2, 2, 1, 0});
  }

  TEST_CASE("each phase has its own order") {
    fabric::UnshardOrder order;
    run(order, 1, {0, 1});
    run(order, 5, {3, 4});
    run(order, 1, {});
    CHECK(upcoming(order) == Units{0, 1, 3, 4});
  }

  TEST_CASE("another way than the last time is not predicted any more, and recorded anew") {
    fabric::UnshardOrder order;
    run(order, 1, {0, 1, 2});
    run(order, 1, {0, 2});
    CHECK(upcoming(order).empty());
    CHECK(order.changes() == 1);
    order.begin(1);
    CHECK(upcoming(order) == Units{0, 2, 0, 2});
  }

  TEST_CASE("a phase that ends early counts as it went") {
    fabric::UnshardOrder order;
    run(order, 1, {0, 1, 2});
    run(order, 1, {0});
    order.begin(2);
    order.begin(1);
    CHECK(upcoming(order) == Units{0});
  }
}
