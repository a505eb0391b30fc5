// Who this process is among the processes of the job.
#pragma once

#include <string>
#include <vector>

namespace fabric {

/// The place of this process in the job. A process that joined no job is a world of one.
struct World {
  int rank = 0;        ///< 0 ≤ rank < size
  int size = 1;        ///< processes in the job
  int local_rank = 0;  ///< rank among the processes that share this node's memory
  int local_size = 1;  ///< processes on this node
  int node_rank = 0;   ///< nodes are numbered by their lowest rank
  int num_nodes = 1;
  std::string host = "localhost";  ///< for texts only; never used to tell nodes apart
};

/// The world this process has joined (a world of one before that).
const World& world();

/// All ranks of it, ascending.
std::vector<int> all_ranks();

namespace detail {
/// Replaces what `world()` returns. Called by the code that joins a job, and by tests.
void set_world(World joined);
}  // namespace detail
}  // namespace fabric
