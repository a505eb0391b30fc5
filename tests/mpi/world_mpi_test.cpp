// The world that MPI reports, and the pool of communicators.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <mpi.h>
#include <torch/torch.h>

#include <accelerators/collectives/communicator.h>
#include <accelerators/collectives/mpi/backend.h>
#include <accelerators/collectives/mpi/mpi.h>

TEST_SUITE("mpi.world") {
  TEST_CASE("the world is what MPI says") {
    const fabric::World& world = fabric::world();
    int rank = -1, size = -1;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    CHECK(world.rank == rank);
    CHECK(world.size == size);
    CHECK(!world.host.empty());
    // All ranks of the tests run on one machine.
    CHECK(world.local_rank == rank);
    CHECK(world.local_size == size);
    CHECK(world.node_rank == 0);
    CHECK(world.num_nodes == 1);
    CHECK(fabric::mpi::compiled());
    CHECK(fabric::mpi::joined());
    CHECK(fabric::mpi::launcher_present());
    CHECK(fabric::mpi::library().find("MPI") != std::string::npos);
    CHECK(&fabric::mpi::join() == &world);
  }

  TEST_CASE("errors name the rank in a world larger than one") {
    const std::string text = fabric::CommunicationError("broken").what();
    CHECK((text.find("(rank ") != std::string::npos) == (fabric::world().size > 1));
  }
}

TEST_SUITE("mpi.pool") {
  TEST_CASE("communicators are reused, however the ranks drop them") {
    constexpr int kAlive = 4;
    // Other ranks drop others, in another order.
    std::mt19937 random(fabric::world().rank + 1);
    std::vector<c10::intrusive_ptr<c10d::Backend>> alive;
    for (int round = 0; round < 20; ++round) {
      while (alive.size() < kAlive) {
        alive.push_back(fabric::mpi::make_backend("model", fabric::all_ranks()));
      }
      for (auto& backend : alive) {
        std::vector<at::Tensor> tensors = {at::ones({4})};
        backend->allreduce(tensors)->wait();
        CHECK(tensors[0][0].item<int>() == fabric::world().size);
      }
      if (round % 2 == 0) {
        std::shuffle(alive.begin(), alive.end(), random);
        while (!alive.empty()) {
          alive.pop_back();
        }
      } else {
        alive.erase(alive.begin() + round % kAlive);  // the same on every rank
      }
    }
    CHECK(fabric::mpi::communicators_made() <= kAlive);
  }

  TEST_CASE("a communicator that one rank still holds is left alone") {
    const int before = fabric::mpi::communicators_made();
    auto held = fabric::mpi::make_backend("held", fabric::all_ranks());
    auto kept = fabric::world().rank == 0 ? held : nullptr;
    held.reset();
    auto other = fabric::mpi::make_backend("other", fabric::all_ranks());
    std::vector<at::Tensor> tensors = {at::ones({4})};
    other->allreduce(tensors)->wait();
    CHECK(tensors[0][0].item<int>() == fabric::world().size);
    CHECK(fabric::mpi::communicators_made() <= std::max(before, 2));
  }

  TEST_CASE("ranks that make different communicators are told so") {
    if (fabric::world().size > 1) {
      const std::string name = fabric::world().rank == 0 ? "model 0" : "model 1";
      CHECK_THROWS_WITH_AS(fabric::mpi::make_backend(name, fabric::all_ranks()),
                           doctest::Contains("the ranks make different communicators"),
                           fabric::CommunicationError);
    }
  }

  TEST_CASE("a world of one makes no communicator") {
    const int before = fabric::mpi::communicators_made();
    const auto all = fabric::make_communicator("user", at::kCPU);
    CHECK((fabric::mpi::communicators_made() > before || before > 0 || all.size() == 1));
    if (all.size() == 1) {
      CHECK(fabric::mpi::communicators_made() == before);
      CHECK(all.process_group() == nullptr);
    }
  }
}
