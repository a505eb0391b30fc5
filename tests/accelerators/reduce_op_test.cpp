#include <doctest/doctest.h>

#include <accelerators/collectives/reduce_op.h>

TEST_SUITE("accelerators.reduce_op") {
  TEST_CASE("literals and strings name the same operations") {
    CHECK(fabric::ReduceOp("mean") == fabric::ReduceOp(std::string("mean")));
    CHECK(fabric::ReduceOp("product").kind() == fabric::ReduceOp::product);
    CHECK(std::string(fabric::ReduceOp(fabric::ReduceOp::max).name()) == "max");
  }

  TEST_CASE("an unknown name says what is valid") {
    CHECK_THROWS_WITH_AS(fabric::ReduceOp(std::string("avg")),
                         doctest::Contains("got 'avg'; expected sum, mean, min, max or product"),
                         fabric::MisconfigurationError);
  }
}
