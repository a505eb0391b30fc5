#include <accelerators/collectives/mpi/place.h>

#include <algorithm>
#include <string>
#include <vector>

#include <sched.h>

#include <accelerators/collectives/mpi/mpi_error.h>

namespace fabric::mpi::detail {

World find_place(MPI_Comm comm, int& usable_cores) {
  World place;
  check(MPI_Comm_rank(comm, &place.rank), "MPI_Comm_rank");
  check(MPI_Comm_size(comm, &place.size), "MPI_Comm_size");

  MPI_Comm node = MPI_COMM_NULL;
  check(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, place.rank, MPI_INFO_NULL, &node),
        "MPI_Comm_split_type");
  check(MPI_Comm_rank(node, &place.local_rank), "MPI_Comm_rank");
  check(MPI_Comm_size(node, &place.local_size), "MPI_Comm_size");

  int leader = place.rank;  // the lowest rank of the node, which is its local rank 0
  check(MPI_Bcast(&leader, 1, MPI_INT, 0, node), "MPI_Bcast");
  std::vector<int> leaders(place.size);
  check(MPI_Allgather(&leader, 1, MPI_INT, leaders.data(), 1, MPI_INT, comm), "MPI_Allgather");
  std::sort(leaders.begin(), leaders.end());
  leaders.erase(std::unique(leaders.begin(), leaders.end()), leaders.end());
  place.num_nodes = static_cast<int>(leaders.size());
  place.node_rank =
      static_cast<int>(std::lower_bound(leaders.begin(), leaders.end(), leader) - leaders.begin());

  // mpirun may bind each process to cores of its own, so only the union over the node tells how
  // many there are.
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof(cores), &cores) != 0) {
    CPU_SET(0, &cores);
  }
  check(MPI_Allreduce(MPI_IN_PLACE, &cores, sizeof(cores), MPI_BYTE, MPI_BOR, node),
        "MPI_Allreduce");
  usable_cores = CPU_COUNT(&cores);
  check(MPI_Comm_free(&node), "MPI_Comm_free");

  char host[MPI_MAX_PROCESSOR_NAME] = {};
  int length = 0;
  check(MPI_Get_processor_name(host, &length), "MPI_Get_processor_name");
  place.host = std::string(host, length);
  return place;
}

}  // namespace fabric::mpi::detail
