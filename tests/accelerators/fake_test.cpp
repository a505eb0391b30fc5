// The backend of a world whose other ranks do not exist.
#include <doctest/doctest.h>

#include <torch/torch.h>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

#include <accelerators/collectives/fake/fake.h>
#include <accelerators/error.h>
#include <tests/support/beside_one_process.h>

using fabric::fake::Collective;
using torch::Tensor;

TEST_SUITE("accelerators.fake") {
  TEST_CASE("every rank sends what this one sends") {
    const auto backend = fabric::fake::make_backend({0, 1, 2, 3});
    CHECK(backend->getSize() == 4);
    Tensor own = torch::arange(3.0), all = torch::empty({12});
    backend->_allgather_base(all, own)->wait();
    CHECK(torch::equal(all.view({4, 3}), own.expand({4, 3})));

    Tensor in_place = torch::zeros({8});
    Tensor slice = in_place.narrow(0, 0, 2);
    slice.fill_(5);
    backend->_allgather_base(in_place, slice)->wait();
    CHECK(torch::equal(in_place, torch::full({8}, 5.0)));

    Tensor part = torch::empty({3});
    backend->_reduce_scatter_base(part, all)->wait();
    CHECK(torch::equal(part, own));

    std::vector<Tensor> tensors = {own.clone()};
    backend->allreduce(tensors)->wait();
    backend->broadcast(tensors)->wait();
    backend->barrier()->wait();
    CHECK(torch::equal(tensors[0], own));
  }

  TEST_CASE("collectives are counted by kind, ranks and bytes") {
    const auto before = fabric::fake::traffic();
    const auto backend = fabric::fake::make_backend({0, 1});
    Tensor own = torch::ones({5}), all = torch::empty({10});
    backend->_allgather_base(all, own);
    backend->_allgather_base(all, own);
    std::vector<Tensor> tensors = {own};
    backend->allreduce(tensors);
    const auto counted = [&](const Collective& collective) {
      const auto now = fabric::fake::traffic();
      const auto found = before.find(collective);
      return now.at(collective) - (found == before.end() ? 0 : found->second);
    };
    CHECK(counted({Collective::all_gather, 2, 40}) == 2);
    CHECK(counted({Collective::all_reduce, 2, 20}) == 1);
    CHECK_THROWS_AS(fabric::fake::join(0, 1), fabric::MisconfigurationError);
    CHECK_FALSE(fabric::fake::joined());
  }

  TEST_CASE("groups of one that no job backs are exact") {
    const fabric::detail::GroupsOfOne real;
    for (const fabric::StrategyChoice& strategy : support::strategies_with_groups()) {
      CAPTURE(strategy.to_text());
      support::BesideOneProcess pair(strategy, torch::kCPU);
      CHECK(pair.model.managed().synchronises());
      pair.train(5);
      CHECK(pair.gradient_error == 0);
      CHECK(pair.parameter_error == 0);
    }
  }
}
