// Groups with one rank in them: a real backend, and the numbers of one process.
#include <doctest/doctest.h>

#include <torch/torch.h>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

#include <accelerators/collectives/mpi/backend.h>
#include <fabric/fabric.h>

#include <tests/support/beside_one_process.h>

using fabric::Communicator;
using fabric::ReduceOp;
using torch::Tensor;

TEST_SUITE("mpi.groups_of_one") {
  TEST_CASE("one rank has a group only while such are asked for") {
    const std::vector<int> own = {fabric::world().rank};
    const auto make = [&] { return fabric::make_communicator("one", c10::Device(c10::kCPU), own); };
    CHECK(make().alone());
    {
      const fabric::detail::GroupsOfOne real;
      const Communicator one = make();
      REQUIRE_FALSE(one.alone());
      CHECK(one.size() == 1);
      const auto backend = one.process_group()->getBackend(torch::kCPU);
      const auto* ours = dynamic_cast<fabric::mpi::Backend*>(backend.get());
      REQUIRE(ours != nullptr);
      const Tensor values = torch::arange(4.0), expected = values.clone();
      one.all_reduce(values, ReduceOp::mean).wait();
      one.broadcast(values, 0).wait();
      CHECK(torch::equal(values, expected));
      const Tensor gathered = torch::empty({1, 4}), scattered = torch::empty({4});
      one.all_gather(gathered, values).wait();
      one.reduce_scatter(scattered, gathered, ReduceOp::sum).wait();
      CHECK(torch::equal(scattered, expected));
      one.barrier();
      CHECK(ours->finished() == 5);
    }
    CHECK(make().alone());
  }

  TEST_CASE("strategies that have them train like one process") {
    const fabric::detail::GroupsOfOne real;
    for (const fabric::StrategyChoice& strategy : support::strategies_with_groups()) {
      CAPTURE(strategy.to_text());
      support::BesideOneProcess pair(strategy, torch::kCPU);
      CHECK(pair.model.managed().synchronises());
      pair.train(5);
      const double allowed = fabric::world().size == 1 ? 0 : 1e-12;
      CHECK(pair.gradient_error <= allowed);
      CHECK(pair.parameter_error <= allowed);
      const Tensor batch = torch::ones({3});
      CHECK(torch::equal(pair.fabric.all_gather(batch)[0], batch));
      CHECK(pair.fabric.sum(1) == fabric::world().size);
    }
  }
}
