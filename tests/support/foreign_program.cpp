// A program that owns MPI and lends its communicator: the world is the communicator's, collectives
// work at the thread level the program asked for, and MPI is still the program's at the end.
// Usage: foreign_program multiple|funneled|none
#include <iostream>
#include <string>

#include <mpi.h>
#include <torch/torch.h>

#include <accelerators/collectives/communicator.h>
#include <accelerators/collectives/mpi/backend.h>
#include <accelerators/collectives/mpi/mpi.h>
#include <fabric/fabric.h>

namespace {

int failures = 0;

void expect(bool condition, const char* what) {
  if (!condition) {
    std::cerr << "rank " << fabric::world().rank << ": not true: " << what << std::endl;
    ++failures;
  }
}

void use(bool threads) {
  const int size = fabric::world().size;
  const auto all = fabric::make_communicator("user", at::kCPU);
  auto backend = all.process_group()->getBackend(at::kCPU);
  auto& ours = static_cast<fabric::mpi::Backend&>(*backend);
  ours.set_progress(fabric::mpi::Progress::thread);
  auto value = at::full({100000}, fabric::world().rank + 1.0);
  all.all_reduce(value, "sum").wait();
  expect(value[7].item<double>() == size * (size + 1) / 2, "the sum");
  expect((ours.ran_inline() == 0) == threads, "below MPI_THREAD_MULTIPLE everything runs inline");
}

// A whole Fabric over the communicator.
void train(MPI_Comm communicator) {
  fabric::Fabric fabric;
  fabric.launch(communicator);
  expect(fabric.world_size() == fabric::world().size, "Fabric joined the communicator");
  torch::manual_seed(fabric.global_rank());
  auto model = fabric.setup(torch::nn::Linear(2, 1));
  fabric.backward(model->forward(torch::full({1, 2}, double(fabric.global_rank()))).sum());
  const double mean = (fabric.world_size() - 1) / 2.0;
  expect(model.module().weight.grad()[0][0].item<double>() == mean, "the mean gradient");
}

int run_without_mpi() {
  try {
    fabric::mpi::join(fabric::mpi::ForeignCommunicator(MPI_COMM_WORLD));
  } catch (const fabric::MisconfigurationError& error) {
    std::cout << error.what() << std::endl;
    return 0;
  }
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string level = argc > 1 ? argv[1] : "";
  if (level == "none") {
    return run_without_mpi();
  }
  const int asked = level == "multiple" ? MPI_THREAD_MULTIPLE : MPI_THREAD_FUNNELED;
  int provided = 0;
  MPI_Init_thread(&argc, &argv, asked, &provided);
  int rank = 0, size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  // The last rank keeps out, and the others are counted from the other end.
  MPI_Comm mine = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, rank == size - 1 ? MPI_UNDEFINED : 0, size - rank, &mine);
  if (mine != MPI_COMM_NULL) {
    const auto& world = fabric::mpi::join(fabric::mpi::ForeignCommunicator(mine));
    expect(world.size == size - 1, "the world is the communicator's");
    expect(world.rank == size - 2 - rank, "its ranks count");
    expect(world.local_size == size - 1, "one node");
    expect(&fabric::mpi::join() == &world, "joining again changes nothing");
    use(provided == MPI_THREAD_MULTIPLE);
    train(mine);
    MPI_Comm_free(&mine);  // it was duplicated
    const auto again = fabric::make_communicator("user", at::kCPU);
    again.barrier();
  }
  int finalized = 0;
  MPI_Finalized(&finalized);
  expect(finalized == 0, "MPI is still the program's");
  MPI_Barrier(MPI_COMM_WORLD);
  MPI_Finalize();
  return failures;
}
