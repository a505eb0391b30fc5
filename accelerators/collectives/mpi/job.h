// The state of this process's membership in an MPI job; internal to this folder.
#pragma once

#include <atomic>

#include <mpi.h>
#include <sys/types.h>

#include <accelerators/collectives/world.h>

namespace fabric::mpi::detail {

/// What join() found and made. Never destroyed: exit handlers and late destructors still read it.
struct Job {
  bool joined = false;
  bool owned = false;  ///< we initialised MPI, so we finalise it
  int thread_level = MPI_THREAD_SINGLE;
  pid_t pid = 0;                       ///< exit handlers do nothing in a forked child
  int usable_cores = 1;                ///< cores that any process of ours on this node may run on
  MPI_Comm world = MPI_COMM_NULL;      ///< what the pool duplicates
  MPI_Comm control = MPI_COMM_NULL;    ///< agreements of the pool and of process groups
  MPI_Comm leaving = MPI_COMM_NULL;    ///< departure notices and the meeting before MPI_Finalize
  std::atomic<bool> finalized{false};  ///< no MPI call is allowed any more
};

Job& job();

/// The job, or NotLaunchedError when join() has not been called.
/// @param where the calling function, for the text
Job& joined_job(const char* where);

/// Whether several threads may call MPI at once.
inline bool threads_allowed() {
  return job().thread_level >= MPI_THREAD_MULTIPLE;
}

}  // namespace fabric::mpi::detail
